//! User objects: counted references to resources of the program, which graphs can hold.

use super::abi::{Callback, Host, Out};
use super::entry;
use super::graph::find as find_graph;
use super::result::{CUresult, Done};
use crate::state::table::{Handle, lock};
use crate::state::user_object::{Destructor, UserObject};
use crate::state::{CUgraph, Driver, driver};
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

pub type CUuserObject = Handle<UserObject>;

/// `CU_USER_OBJECT_NO_DESTRUCTOR_SYNC`, which must be given.
const NO_DESTRUCTOR_SYNC: u32 = 1;
/// `CU_GRAPH_USER_OBJECT_MOVE`.
const MOVE: u32 = 1;

#[unsafe(no_mangle)]
pub extern "C" fn cuUserObjectCreate(
    out: Out<CUuserObject>,
    data: Host,
    destroy: Option<unsafe extern "C" fn(*mut c_void)>,
    count: u32,
    flags: u32,
) -> CUresult {
    entry(|| {
        let driver = driver()?;
        if out.is_null() || destroy.is_none() || count == 0 || flags != NO_DESTRUCTOR_SYNC {
            return Err(CUresult::INVALID_VALUE);
        }
        let object = Arc::new(Destructor(Callback { function: destroy, data }));
        out.set(driver.user_objects.insert(UserObject(Mutex::new(vec![object; count as usize]))))
    })
}

fn find(handle: CUuserObject) -> Done<(&'static Driver, Arc<UserObject>)> {
    let driver = driver()?;
    Ok((driver, driver.user_objects.get(handle).ok_or(CUresult::INVALID_VALUE)?))
}

/// Takes `count` references; with the last one the handle ends.
fn take(driver: &Driver, handle: CUuserObject, object: &UserObject, count: u32) -> Done<Vec<Arc<Destructor>>> {
    let mut own = lock(&object.0);
    let rest = own.len().checked_sub(count as usize).filter(|_| count > 0).ok_or(CUresult::INVALID_VALUE)?;
    if rest == 0 {
        driver.user_objects.remove(handle);
    }
    Ok(own.split_off(rest))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuUserObjectRetain(handle: CUuserObject, count: u32) -> CUresult {
    entry(|| {
        let (_, object) = find(handle)?;
        let mut own = lock(&object.0);
        let one = own.first().cloned().filter(|_| count > 0).ok_or(CUresult::INVALID_VALUE)?;
        own.extend(vec![one; count as usize]);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuUserObjectRelease(handle: CUuserObject, count: u32) -> CUresult {
    entry(|| {
        let (driver, object) = find(handle)?;
        // Dropped here, when no lock is held: a destructor may do anything.
        take(driver, handle, &object, count).map(drop)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphRetainUserObject(graph: CUgraph, handle: CUuserObject, count: u32, flags: u32) -> CUresult {
    entry(|| {
        let (_, graph) = find_graph(graph)?;
        let (driver, object) = find(handle)?;
        if flags & !MOVE != 0 || count == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let references = if flags == MOVE {
            take(driver, handle, &object, count)?
        } else {
            let own = lock(&object.0);
            vec![own.first().cloned().ok_or(CUresult::INVALID_VALUE)?; count as usize]
        };
        lock(&graph).objects.extend(references);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphReleaseUserObject(graph: CUgraph, handle: CUuserObject, count: u32) -> CUresult {
    entry(|| {
        let (_, graph) = find_graph(graph)?;
        let (_, object) = find(handle)?;
        let one = lock(&object.0).first().cloned().ok_or(CUresult::INVALID_VALUE)?;
        let mut graph = lock(&graph);
        let held = graph.objects.iter().filter(|o| Arc::ptr_eq(o, &one)).count();
        if count == 0 || held < count as usize {
            return Err(CUresult::INVALID_VALUE);
        }
        for _ in 0..count {
            // The program still holds a reference, so that nothing ends under the lock.
            let place = graph.objects.iter().position(|o| Arc::ptr_eq(o, &one));
            place.map(|i| graph.objects.remove(i));
        }
        Ok(())
    })
}
