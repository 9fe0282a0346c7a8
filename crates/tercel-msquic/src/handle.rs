//! Every `HQUIC`. A handle is a key and never an address: where the object lies in a table, and how many objects
//! have lain there before. So a handle that is stale, made up, or of another kind of object is told from a good
//! one, and never followed.

use std::sync::Arc;

use crate::abi::{Handle, Status};
use crate::brief::Brief;
use crate::called::{self, Called};
use crate::configuration::Configuration;
use crate::connection::Connection;
use crate::execution::Execution;
use crate::gate;
use crate::listener::Listener;
use crate::registration::Registration;
use crate::stream::Stream;

/// What a handle can name.
#[derive(Clone)]
pub(crate) enum Object {
    Registration(Arc<Registration>),
    Configuration(Arc<Configuration>),
    Listener(Arc<Listener>),
    Connection(Arc<Connection>),
    Stream(Arc<Stream>),
    Execution(Arc<Execution>),
}

/// An object that handles name.
pub(crate) trait Named: Sized {
    fn wrap(this: Arc<Self>) -> Object;
    fn of(object: Object) -> Option<Arc<Self>>;
    fn is(object: &Object) -> bool;
    /// The same from those whose callback runs.
    fn called<'a>(called: &'a Called<'_>, handle: Handle) -> Option<&'a Arc<Self>>;
}

macro_rules! named {
    ($($name:ident: $called:expr),*) => {$(
        impl Named for $name {
            fn wrap(this: Arc<Self>) -> Object {
                Object::$name(this)
            }
            fn of(object: Object) -> Option<Arc<Self>> {
                match object {
                    Object::$name(object) => Some(object),
                    _ => None,
                }
            }
            fn is(object: &Object) -> bool {
                matches!(object, Object::$name(_))
            }
            fn called<'a>(called: &'a Called<'_>, handle: Handle) -> Option<&'a Arc<Self>> {
                let find: fn(&'a Called<'_>, Handle) -> Option<&'a Arc<Self>> = $called;
                find(called, handle)
            }
        }
    )*};
}

named!(
    Registration: |_, _| None,
    Configuration: |_, _| None,
    Listener: |_, _| None,
    Connection: |called, handle| called.connection(handle),
    Stream: |called, handle| called.stream(handle),
    Execution: |_, _| None
);

/// The table is in parts, and what a thread makes goes into the same: so threads seldom meet at one lock.
const PARTS: usize = 16;

/// Bits of a handle: the part, the place in it, and above them the generation.
const PART_BITS: u32 = PARTS.trailing_zeros();
const PLACE_BITS: u32 = 26;

#[derive(Default)]
struct Place {
    /// How many objects have lain here, the present one included: never 0 in a handle.
    generation: u64,
    object: Option<Object>,
}

struct Part {
    places: Vec<Place>,
    free: Vec<usize>,
}

static TABLE: [Brief<Part>; PARTS] = [const { Brief::new(Part { places: Vec::new(), free: Vec::new() }) }; PARTS];

/// What a handle says: part, place and generation.
fn parse(handle: Handle) -> (usize, usize, u64) {
    let bits = handle.0 as u64;
    let part = bits & (PARTS as u64 - 1);
    let place = bits >> PART_BITS & ((1 << PLACE_BITS) - 1);
    (part as usize, place as usize, bits >> (PART_BITS + PLACE_BITS))
}

/// Makes an object that knows its handle.
///
/// # Errors
/// [`Status::OUT_OF_MEMORY`]: there are too many.
pub(crate) fn insert<T: Named>(make: impl FnOnce(Handle) -> Arc<T>) -> Result<Arc<T>, Status> {
    let part = gate::this_thread() as usize % PARTS;
    let mut table = TABLE[part].lock();
    let table = &mut *table;
    let place = match table.free.pop() {
        Some(place) => place,
        None if table.places.len() >> PLACE_BITS == 0 => {
            table.places.push(Place::default());
            table.places.len() - 1
        }
        None => return Err(Status::OUT_OF_MEMORY),
    };
    let at = &mut table.places[place];
    at.generation += 1;
    let bits = at.generation << (PART_BITS + PLACE_BITS) | (place as u64) << PART_BITS | part as u64;
    let object = make(Handle(std::ptr::without_provenance_mut(bits as usize)));
    at.object = Some(T::wrap(object.clone()));
    Ok(object)
}

fn any(handle: Handle) -> Option<Object> {
    let (part, place, generation) = parse(handle);
    let table = TABLE[part].lock();
    table.places.get(place).filter(|place| place.generation == generation)?.object.clone()
}

/// The object that a handle names.
///
/// # Errors
/// [`Status::INVALID_PARAMETER`]: it names none, or one of another kind.
pub(crate) fn get<T: Named>(handle: Handle) -> Result<Arc<T>, Status> {
    any(handle).and_then(T::of).ok_or(Status::INVALID_PARAMETER)
}

/// Does something with the object that a handle names: what calls that come from callbacks use.
///
/// # Errors
/// As for [`get`], and those of `act`.
pub(crate) fn with<T: Named, R>(handle: Handle, act: impl FnOnce(&Arc<T>) -> Result<R, Status>) -> Result<R, Status> {
    called::look(|called| match called.and_then(|called| T::called(called, handle)) {
        Some(object) => act(object),
        None => act(&get(handle)?),
    })
}

/// The same with a connection, or with that of the stream that a handle names.
///
/// # Errors
/// As for [`connection`], and those of `act`.
pub(crate) fn with_connection<R>(
    handle: Handle,
    act: impl FnOnce(&Arc<Connection>) -> Result<R, Status>,
) -> Result<R, Status> {
    called::look(|called| match called.and_then(|called| called.connection(handle)) {
        Some(connection) => act(connection),
        None => act(&connection(handle)?),
    })
}

/// The connection that a handle names; or that of the stream that it names.
///
/// # Errors
/// [`Status::INVALID_PARAMETER`]: it names neither.
pub(crate) fn connection(handle: Handle) -> Result<Arc<Connection>, Status> {
    match object(handle)? {
        Object::Connection(connection) => Ok(connection),
        Object::Stream(stream) => Ok(stream.connection().clone()),
        _ => Err(Status::INVALID_PARAMETER),
    }
}

/// Whatever a handle names.
///
/// # Errors
/// [`Status::INVALID_PARAMETER`]: it names nothing.
pub(crate) fn object(handle: Handle) -> Result<Object, Status> {
    any(handle).ok_or(Status::INVALID_PARAMETER)
}

/// How many streams have handles.
pub(crate) fn streams() -> u64 {
    let is_stream = |place: &&Place| matches!(place.object, Some(Object::Stream(_)));
    TABLE.iter().map(|part| part.lock().places.iter().filter(is_stream).count() as u64).sum()
}

/// Takes the name from an object: from now on the handle is stale. Of several threads that try only one succeeds.
///
/// # Errors
/// As for [`get`].
pub(crate) fn remove<T: Named>(handle: Handle) -> Result<Arc<T>, Status> {
    let (part, place, generation) = parse(handle);
    let mut table = TABLE[part].lock();
    let found = table.places.get_mut(place).filter(|place| place.generation == generation);
    let object = found.and_then(|place| place.object.take_if(|object| T::is(object)));
    let object = object.and_then(T::of).ok_or(Status::INVALID_PARAMETER)?;
    table.free.push(place);
    Ok(object)
}
