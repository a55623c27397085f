//! Values that travel with a request: of any type, one of each.

use crate::contain::drop_contained;
use std::{
    any::{Any, TypeId},
    sync::Arc,
};

/// See the module. However one is dropped, and it may panic then, that costs neither the others nor the connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values {
    values: Vec<(TypeId, Arc<dyn Any + Send + Sync>)>,
}

impl Values {
    /// Keeps one in place of any other of its type.
    pub(crate) fn set<T: Send + Sync + 'static>(&mut self, value: T) {
        self.keep((TypeId::of::<T>(), Arc::new(value)));
    }

    pub(crate) fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let (_, found) = self.values.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        found.clone().downcast().ok()
    }

    /// Keeps all of `others`, in place of those of their types.
    pub(crate) fn extend(&mut self, mut others: Self) {
        others.values.drain(..).for_each(|value| self.keep(value));
    }

    /// Makes it empty and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.values.drain(..).for_each(|value| drop_contained(&mut Some(value)));
    }

    fn keep(&mut self, value: (TypeId, Arc<dyn Any + Send + Sync>)) {
        match self.values.iter_mut().find(|(id, _)| *id == value.0) {
            Some(place) => drop_contained(&mut Some(std::mem::replace(place, value))),
            None => self.values.push(value),
        }
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        self.clear();
    }
}
