//! User objects: resources of the program that end when the last reference to them does, whether the program or a graph holds it.

use crate::api::abi::Callback;
use std::sync::{Arc, Mutex};

/// Calls the program's destructor when the last reference goes.
pub struct Destructor(pub Callback);

impl Drop for Destructor {
    fn drop(&mut self) {
        self.0.call();
    }
}

/// `CUuserObject`: the references that the program holds.
pub struct UserObject(pub Mutex<Vec<Arc<Destructor>>>);
