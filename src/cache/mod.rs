//! The KV cache: layout of every byte, views over the engine's memory, plans and sizes.
