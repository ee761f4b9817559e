//! Where variables live between cells.
//!
//! The engine generates a store of its own into every cell; the kernel puts this one in its place
//! (`front::source`), so that a cell compiles two small functions for each variable that it names
//! and nothing else. A variable's memory stays where it is while a cell holds its value, and is
//! used again when the value comes back.

use super::__cell::marker;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::Arc;

/// The engine's line about a variable that is lost.
pub const VARIABLE_CHANGED_TYPE: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";
/// The engine's line about an early return.
pub const USER_ERROR_OCCURRED: &str = "EVCXR_ERROR_OCCURRED";

/// Memory for one value and, if `full`, the value.
struct Slot {
    place: NonNull<u8>,
    layout: Layout,
    type_id: TypeId,
    drop: unsafe fn(*mut u8),
    full: bool,
}

impl Slot {
    fn empty(layout: Layout, type_id: TypeId, drop: unsafe fn(*mut u8)) -> Slot {
        let place = if layout.size() == 0 {
            layout.dangling_ptr()
        } else {
            // SAFETY: the size is not zero.
            NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
        };
        Slot { place, layout, type_id, drop, full: false }
    }

    /// Ends the value's life, if there is one.
    fn clear(&mut self) {
        if std::mem::take(&mut self.full) {
            // SAFETY: the value was written by `put_variable`, with this function for its type.
            unsafe { (self.drop)(self.place.as_ptr()) }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.clear();
        if self.layout.size() > 0 {
            // SAFETY: allocated in `empty` with this layout.
            unsafe { dealloc(self.place.as_ptr(), self.layout) }
        }
    }
}

unsafe fn drop_value<T>(place: *mut u8) {
    // SAFETY: the caller passes the address of a value of this type that is not used again.
    unsafe { place.cast::<T>().drop_in_place() }
}

/// The variables of a session.
#[derive(Default)]
pub struct VariableStore {
    variables: HashMap<String, Slot>,
    shared: HashMap<String, Box<dyn Any>>,
}

impl VariableStore {
    /// Keeps a value until the next cell.
    pub fn put_variable<T: 'static>(&mut self, name: &str, value: T) {
        let place = self.place(name, TypeId::of::<T>(), Layout::new::<T>(), drop_value::<T>);
        // SAFETY: the place has this type's layout and holds no value.
        unsafe { place.cast::<T>().write(value) }
    }

    /// Whether the variable still has the type that the cell takes it for.
    pub fn check_variable<T: 'static>(&mut self, name: &str) -> bool {
        self.check(name, TypeId::of::<T>(), Layout::new::<T>())
    }

    /// Hands a value out.
    pub fn take_variable<T: 'static>(&mut self, name: &str) -> T {
        let place = self.take(name, TypeId::of::<T>(), Layout::new::<T>());
        // SAFETY: a value of this type and layout, which the store no longer takes for its own.
        unsafe { place.cast::<T>().read() }
    }

    /// A value shared by cells, made by the first that asks for it.
    pub fn lazy_arc<T: 'static, F: FnOnce() -> T>(&mut self, name: &str, create: F) -> Arc<T> {
        let shared = self
            .shared
            .entry(name.to_owned())
            .or_insert_with(|| Box::new(Arc::new(create())))
            .downcast_ref::<Arc<T>>();
        shared.unwrap_or_else(|| panic!("{name} changed its type")).clone()
    }

    fn place(
        &mut self,
        name: &str,
        type_id: TypeId,
        layout: Layout,
        drop: unsafe fn(*mut u8),
    ) -> *mut u8 {
        match self.variables.get_mut(name) {
            Some(slot) if slot.layout == layout => {
                slot.clear();
                (slot.type_id, slot.drop) = (type_id, drop);
            }
            _ => {
                let slot = Slot::empty(layout, type_id, drop);
                self.variables.insert(name.to_owned(), slot);
            }
        }
        let slot = self.variables.get_mut(name).expect("inserted above");
        slot.full = true;
        slot.place.as_ptr()
    }

    fn check(&self, name: &str, type_id: TypeId, layout: Layout) -> bool {
        let same = self
            .variables
            .get(name)
            .is_none_or(|slot| slot.type_id == type_id && slot.layout == layout);
        if !same {
            eprintln!("the type of `{name}` was defined anew, so the variable is lost");
            marker(&format!("{VARIABLE_CHANGED_TYPE}{name}"));
        }
        same
    }

    fn take(&mut self, name: &str, type_id: TypeId, layout: Layout) -> *mut u8 {
        match self.variables.get_mut(name) {
            Some(slot) if slot.full && slot.type_id == type_id && slot.layout == layout => {
                slot.full = false;
                slot.place.as_ptr()
            }
            Some(slot) if slot.full => panic!("variable `{name}` changed its type"),
            _ => panic!("variable `{name}` has gone missing"),
        }
    }
}

/// The store of a session; it lives as long as the process.
pub fn create_variable_store() -> *mut VariableStore {
    Box::into_raw(Box::default())
}
