//! Every `HQUIC`. A handle is a key and never an address: where the object lies in a table, and how many objects
//! have lain there before. So a handle that is stale, made up, or of another kind of object is told from a good
//! one, and never followed. The table knows, too, which streams a connection has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// One object, in a ring with others: a connection with its streams, everything else alone.
struct Place {
    /// Twice the number of objects that have lain here, the present one included, which is never 0 in a handle; and
    /// [`STAYS`].
    generation: u64,
    object: Option<Object>,
    next: u32,
    previous: u32,
}

/// The handle of the stream that lies here is closed, so that no handle names it.
const STAYS: u64 = 1;

struct Part {
    places: Vec<Place>,
    free: Vec<u32>,
}

static TABLE: [Brief<Part>; PARTS] = [const { Brief::new(Part { places: Vec::new(), free: Vec::new() }) }; PARTS];

impl Part {
    /// A place for another object, alone in its ring.
    fn claim(&mut self) -> Result<u32, Status> {
        if let Some(place) = self.free.pop() {
            return Ok(place);
        }
        let place = self.places.len() as u32;
        if place >> PLACE_BITS != 0 {
            return Err(Status::OUT_OF_MEMORY);
        }
        self.places.push(Place { generation: 0, object: None, next: place, previous: place });
        Ok(place)
    }

    /// What lies at a place, if it is of this generation.
    fn at(&mut self, place: u32, generation: u64) -> Option<&mut Place> {
        self.places.get_mut(place as usize).filter(|place| place.generation == generation)
    }

    /// Puts a place into the ring of another, behind all that are there.
    fn join(&mut self, place: u32, first: u32) {
        let last = std::mem::replace(&mut self.places[first as usize].previous, place);
        self.places[last as usize].next = place;
        let joining = &mut self.places[place as usize];
        (joining.next, joining.previous) = (first, last);
    }

    /// A stream goes: out of its ring, and its connection, too, if that is closed and waits for nothing else.
    fn leave(&mut self, place: u32) {
        let leaving = &mut self.places[place as usize];
        let (next, previous) = (leaving.next, leaving.previous);
        (leaving.next, leaving.previous) = (place, place);
        self.places[previous as usize].next = next;
        self.places[next as usize].previous = previous;
        self.free.push(place);
        if next == previous && self.places[next as usize].object.is_none() {
            self.free.push(next);
        }
    }
}

/// What a handle says: part, place and generation as it is there.
fn parse(handle: Handle) -> (usize, u32, u64) {
    let bits = handle.0 as u64;
    let part = bits & (PARTS as u64 - 1);
    let place = bits >> PART_BITS & ((1 << PLACE_BITS) - 1);
    (part as usize, place as u32, (bits >> (PART_BITS + PLACE_BITS)) << 1)
}

/// Makes an object that knows its handle.
///
/// # Errors
/// [`Status::OUT_OF_MEMORY`]: there are too many.
pub(crate) fn insert<T: Named>(make: impl FnOnce(Handle) -> Arc<T>) -> Result<Arc<T>, Status> {
    let part = gate::this_thread() as usize % PARTS;
    insert_into(part, make)
}

/// The same with a connection of which it is not known yet which worker has it: it goes into the next part, and its
/// streams with it.
///
/// # Errors
/// As for [`insert`].
pub(crate) fn insert_in_turn(make: impl FnOnce(Handle) -> Arc<Connection>) -> Result<Arc<Connection>, Status> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    insert_into(NEXT.fetch_add(1, Ordering::Relaxed) % PARTS, make)
}

fn insert_into<T: Named>(part: usize, make: impl FnOnce(Handle) -> Arc<T>) -> Result<Arc<T>, Status> {
    let make = |handle| {
        let object = make(handle);
        (T::wrap(object.clone()), object)
    };
    put(part, &mut TABLE[part].lock(), make).map(|(object, _)| object)
}

/// The same with a stream, of which `make` gives two references; it is found among those of its connection until its
/// handle is closed and it is over.
///
/// # Errors
/// As for [`insert`]; [`Status::INVALID_STATE`]: the handle of the connection is closed.
pub(crate) fn insert_stream(
    connection: Handle,
    make: impl FnOnce(Handle) -> [Arc<Stream>; 2],
) -> Result<Arc<Stream>, Status> {
    let (part, first, generation) = parse(connection);
    let mut table = TABLE[part].lock();
    if table.at(first, generation).is_none_or(|connection| connection.object.is_none()) {
        return Err(Status::INVALID_STATE);
    }
    let make = |handle| {
        let [named, other] = make(handle);
        (Object::Stream(named), other)
    };
    let (stream, place) = put(part, &mut table, make)?;
    table.join(place, first);
    Ok(stream)
}

fn put<R>(part: usize, table: &mut Part, make: impl FnOnce(Handle) -> (Object, R)) -> Result<(R, u32), Status> {
    let place = table.claim()?;
    let at = &mut table.places[place as usize];
    at.generation = (at.generation | STAYS) + 1;
    let bits = at.generation >> 1 << (PART_BITS + PLACE_BITS) | u64::from(place) << PART_BITS | part as u64;
    let (object, made) = make(Handle(std::ptr::without_provenance_mut(bits as usize)));
    at.object = Some(object);
    Ok((made, place))
}

fn any(handle: Handle) -> Option<Object> {
    let (part, place, generation) = parse(handle);
    TABLE[part].lock().at(place, generation)?.object.clone()
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
#[inline(always)]
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

/// Takes the name from an object: from now on the handle is stale. Of several threads that try only one succeeds. Streams
/// are [closed](close_stream).
///
/// # Errors
/// As for [`get`].
pub(crate) fn remove<T: Named>(handle: Handle) -> Result<Arc<T>, Status> {
    let (part, place, generation) = parse(handle);
    let mut table = TABLE[part].lock();
    let at = table.at(place, generation).ok_or(Status::INVALID_PARAMETER)?;
    let object = at.object.take_if(|object| T::is(object)).and_then(T::of).ok_or(Status::INVALID_PARAMETER)?;
    // A connection keeps its place for as long as it has streams.
    if at.next == place {
        table.free.push(place);
    }
    Ok(object)
}

/// The same with a stream. If it is not over it stays among those of its connection, until it is [forgotten](forget).
///
/// # Errors
/// As for [`get`].
pub(crate) fn close_stream(handle: Handle) -> Result<Arc<Stream>, Status> {
    let (part, place, generation) = parse(handle);
    let mut table = TABLE[part].lock();
    let at = table.at(place, generation).ok_or(Status::INVALID_PARAMETER)?;
    match &at.object {
        Some(Object::Stream(stream)) if stream.stays_when_closed() => {
            at.generation |= STAYS;
            Ok(stream.clone())
        }
        Some(Object::Stream(_)) => {
            let object = at.object.take();
            table.leave(place);
            object.and_then(Stream::of).ok_or(Status::INVALID_PARAMETER)
        }
        _ => Err(Status::INVALID_PARAMETER),
    }
}

/// A stream that has stayed is over.
pub(crate) fn forget(handle: Handle) {
    let (part, place, generation) = parse(handle);
    let mut table = TABLE[part].lock();
    let stayed = table.at(place, generation | STAYS).and_then(|at| at.object.take());
    if stayed.is_some() {
        table.leave(place);
    }
    drop(table);
    drop(stayed);
}

/// The streams of a connection, whose own handle may be closed.
pub(crate) fn streams_of(connection: Handle) -> Vec<Arc<Stream>> {
    let (part, first, generation) = parse(connection);
    let mut table = TABLE[part].lock();
    let mut streams = Vec::new();
    let Some(mut next) = table.at(first, generation).map(|connection| connection.next) else { return streams };
    while next != first {
        let place = &table.places[next as usize];
        if let Some(Object::Stream(stream)) = &place.object {
            streams.push(stream.clone());
        }
        next = place.next;
    }
    streams
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(part: &Part, first: u32) -> Vec<u32> {
        let mut all = Vec::new();
        let mut next = part.places[first as usize].next;
        while next != first {
            assert_eq!(part.places[part.places[next as usize].previous as usize].next, next);
            all.push(next);
            next = part.places[next as usize].next;
        }
        all
    }

    /// A connection's place outlasts its streams, in whatever order these go.
    #[test]
    fn a_closed_connection_goes_with_its_last_stream() {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut part = Part { places: Vec::new(), free: Vec::new() };
            let connection = part.claim().unwrap();
            let other = part.claim().unwrap();
            let streams = [(); 3].map(|()| {
                let stream = part.claim().unwrap();
                part.join(stream, connection);
                stream
            });
            assert_eq!(ring(&part, connection), streams);
            for (left, at) in order.into_iter().enumerate() {
                assert_eq!(part.free.len(), left);
                part.leave(streams[at]);
                assert!(!ring(&part, connection).contains(&streams[at]) && ring(&part, other).is_empty());
            }
            // There is no object at its place: its handle is closed.
            assert_eq!(part.free[2..], [streams[order[2]], connection]);
            assert_eq!(part.claim(), Ok(connection));
        }
    }

    /// What a handle says cannot name a stream whose handle is closed.
    #[test]
    fn no_handle_names_what_stays() {
        let all = [0, 1, u64::MAX, 0x1234_5678_9abc_def0].map(|bits: u64| {
            let (_, _, generation) = parse(Handle(std::ptr::without_provenance_mut(bits as usize)));
            generation & STAYS
        });
        assert_eq!(all, [0; 4]);
    }
}
