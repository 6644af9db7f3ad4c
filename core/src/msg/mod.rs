//! The messages of Kafka's protocol as values: a module for each API, with one request and one
//! response that cover all versions.
//!
//! Fields are those of the newest version. For a field that a version lacks, a decoder fills in the
//! schema's default and an encoder leaves it out. The `Default` of a request or response has the
//! schema's defaults: a decoder begins with it. The encoding lives in `wavetank-wire`, the meaning
//! of a message in the component that handles it.
//!
//! `table.rs` has a row for each API; the types here follow from it.

mod alter_partition;
mod api_versions;
mod begin_quorum_epoch;
mod broker_heartbeat;
mod broker_registration;
mod create_topics;
mod delete_topics;
mod end_quorum_epoch;
mod envelope;
mod fetch;
mod list_offsets;
mod metadata;
mod offset_for_leader_epoch;
mod produce;
mod shared;
mod table;
mod vote;

pub use alter_partition::*;
pub use api_versions::*;
pub use begin_quorum_epoch::*;
pub use broker_heartbeat::*;
pub use broker_registration::*;
pub use create_topics::*;
pub use delete_topics::*;
pub use end_quorum_epoch::*;
pub use envelope::*;
pub use fetch::*;
pub use list_offsets::*;
pub use metadata::*;
pub use offset_for_leader_epoch::*;
pub use produce::*;
pub use shared::*;
pub use vote::*;

use core::hash::{Hash, Hasher};

use crate::error_code::ErrorCode;
use crate::types::NodeId;

/// The most elements that all arrays of a request may have together. Kafka has no such bound. A
/// node refuses a request with more, so it never sends one either: what does not fit goes in
/// another request.
pub const MAX_REQUEST_ELEMENTS: usize = 100_000;

/// The columns of the table: what is to be known of an API besides its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties {
    /// The lowest and the highest version served, and sent to other nodes.
    pub versions: (i16, i16),
    /// From this version on, messages are flexible: compact lengths and tagged fields (KIP-482).
    pub flexible: i16,
    /// The listeners that serve it (`listeners` in Kafka's message definitions).
    pub listeners: Listeners,
    /// What the answer may weigh.
    pub answer: Answer,
    /// Whether the decoded request refers to bytes of its frame, whose memory is then taken until
    /// the answer (Kafka's `ApiKeys.requiresDelayedAllocation`). Otherwise it owns what it has.
    pub keeps_frame: bool,
}

/// The listeners that serve an API, by who uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listeners {
    /// Those of clients and brokers.
    pub brokers: bool,
    /// Those of controllers.
    pub controllers: bool,
}

/// What an answer may weigh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// About what the request weighs.
    Small,
    /// Up to everything of some kind in the cluster, however small the request.
    Listing,
    /// Records, up to the bytes that the request names.
    Records,
}

/// What each request says of itself, without the component that handles it.
pub trait RequestMessage: Default {
    /// The response of the same API.
    type Response: Default;

    /// The answer to a request that fails as a whole: this error for everything that it names
    /// (Kafka's `getErrorResponse`).
    fn refused(&self, error: ErrorCode) -> Self::Response;

    /// The replica that sends it, or a negative number from a client. `None` if the API is not
    /// among those that replicas and clients share.
    fn replica(&self) -> Option<NodeId> {
        None
    }
}

macro_rules! define_the_apis {
    (() $(
        $(#[$about:meta])* $family:ident($requests:ident) { $(
            $(#[$doc:meta])*
            $name:ident = $key:literal, $module:ident: $request:ident => $response:ident {
                $($properties:tt)*
            }
        )* }
    )*) => {
        /// The APIs that this build speaks, by Kafka's key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $($($(#[$doc])* $name = $key,)*)*
        }

        impl ApiKey {
            /// All of them, in order of key.
            pub const ALL: &'static [ApiKey] = &by_key([$($(ApiKey::$name),*),*]);

            /// From the key on the wire.
            pub fn from_key(key: i16) -> Option<ApiKey> {
                match key { $($($key => Some(ApiKey::$name),)*)* _ => None }
            }

            /// Its row in the table.
            pub const fn properties(self) -> Properties {
                use Answer::*;
                const BROKERS: Listeners = Listeners { brokers: true, controllers: false };
                const CONTROLLERS: Listeners = Listeners { brokers: false, controllers: true };
                const BOTH: Listeners = Listeners { brokers: true, controllers: true };
                match self { $($(ApiKey::$name => Properties { $($properties)* },)*)* }
            }
        }

        /// A request.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Request {
            $($($(#[$doc])* $name($request),)*)*
        }

        /// A response.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Response {
            $($($(#[$doc])* $name($response),)*)*
        }

        /// A request, by the component that handles it.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Family {
            $($(#[$about])* $family($requests),)*
        }

        $(
            $(#[$about])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub enum $requests {
                $($(#[$doc])* $name($request),)*
            }

            impl From<$requests> for Request {
                fn from(request: $requests) -> Request {
                    match request { $($requests::$name(message) => Request::$name(message),)* }
                }
            }

            impl $requests {
                /// See [`RequestMessage::refused`].
                pub fn refused(&self, error: ErrorCode) -> Response {
                    match self {
                        $($requests::$name(message) => Response::$name(message.refused(error)),)*
                    }
                }
            }
        )*

        impl From<Family> for Request {
            fn from(request: Family) -> Request {
                match request { $(Family::$family(request) => request.into(),)* }
            }
        }

        impl Request {
            /// Which API.
            pub fn api(&self) -> ApiKey {
                match self { $($(Request::$name(_) => ApiKey::$name,)*)* }
            }

            /// A request of that API with the schema's defaults.
            pub fn empty(api: ApiKey) -> Request {
                match api { $($(ApiKey::$name => Request::$name(Default::default()),)*)* }
            }

            /// As one of its family.
            pub fn into_family(self) -> Family {
                match self {
                    $($(Request::$name(message) => {
                        Family::$family($requests::$name(message))
                    })*)*
                }
            }

            /// See [`RequestMessage::refused`].
            pub fn refused(&self, error: ErrorCode) -> Response {
                match self {
                    $($(Request::$name(message) => Response::$name(message.refused(error)),)*)*
                }
            }

            /// See [`RequestMessage::replica`].
            pub fn replica(&self) -> Option<NodeId> {
                match self { $($(Request::$name(message) => message.replica(),)*)* }
            }
        }

        impl Response {
            /// Which API.
            pub fn api(&self) -> ApiKey {
                match self { $($(Response::$name(_) => ApiKey::$name,)*)* }
            }

            /// A response of that API with the schema's defaults.
            pub fn empty(api: ApiKey) -> Response {
                match api { $($(ApiKey::$name => Response::$name(Default::default()),)*)* }
            }
        }

        impl Hash for Request {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.api().index().hash(state);
                match self { $($(Request::$name(message) => message.hash(state),)*)* }
            }
        }

        impl Hash for Response {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.api().index().hash(state);
                match self { $($(Response::$name(message) => message.hash(state),)*)* }
            }
        }

        /// Each API's response belongs to its request.
        const _: () = { $($(is_answered_by::<$request, $response>();)*)* };
    };
}

const fn is_answered_by<A: RequestMessage<Response = B>, B>() {}

const fn by_key<const N: usize>(mut all: [ApiKey; N]) -> [ApiKey; N] {
    let mut sorted = 1;
    while sorted < N {
        let mut at = sorted;
        while at > 0 && all[at].key() < all[at - 1].key() {
            all.swap(at, at - 1);
            at -= 1;
        }
        sorted += 1;
    }
    all
}

crate::api_table!([define_the_apis]);

impl ApiKey {
    /// The key on the wire.
    pub const fn key(self) -> i16 {
        self as i16
    }

    fn index(self) -> isize {
        let index = ApiKey::ALL.iter().position(|api| *api == self);
        index.and_then(|index| isize::try_from(index).ok()).expect("all are in it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_consistent() {
        assert!(ApiKey::ALL.is_sorted_by(|a, b| a.key() < b.key()), "{:?}", ApiKey::ALL);
        for api in ApiKey::ALL.iter().copied() {
            let Properties { versions: (min, max), flexible, .. } = api.properties();
            assert!(0 <= min && min <= max && flexible >= 0, "{api:?}");
            assert_eq!(ApiKey::from_key(api.key()), Some(api));
            assert_eq!((Request::empty(api).api(), Response::empty(api).api()), (api, api));
            assert_eq!(Request::from(Request::empty(api).into_family()).api(), api);
        }
        assert_eq!(ApiKey::from_key(-1), None);
    }
}
