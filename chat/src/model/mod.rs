//! The canonical model: what each dialect is read into and written from.
//!
//! Plain data that borrows from the bytes it was read from. Nothing in it belongs to one dialect, but
//! for the places that say so by a [`Dialect`](crate::Dialect) beside a raw value.
//!
//! | module | what it holds |
//! |---|---|
//! | [`request`] | a request: messages, tools, parameters |
//! | [`part`] | what messages consist of |
//! | [`thought`] | reasoning, and what its provider wants back to go on with it |
//! | [`tool`] | tools and the choice among them |
//! | [`settings`] | effort, output format, service tier, cache hints |
//! | [`reply`] | an answer that is one document, and why it ended |
//! | [`event`] | an answer in pieces |
//! | [`usage`] | tokens by what they cost |
//! | [`fault`] | a provider's error |
//! | [`origin`] | where in the client's request something stood |

pub mod event;
pub mod fault;
pub mod origin;
pub mod part;
pub mod reply;
pub mod request;
pub mod settings;
pub mod thought;
pub mod tool;
pub mod usage;

pub use event::{Block, Delta, Event};
pub use fault::{Fault, FaultKind};
pub use origin::{Field, Origin};
pub use part::{Annotation, Content, Document, Image, Media, Part, Source, ToolCall, ToolResult};
pub use reply::{Finish, Reply};
pub use request::{Extra, Message, Request, Role, Sampling};
pub use settings::{
    CacheHint, CacheLife, Display, Effort, Format, Reasoning, ServiceTier, Thinking,
};
pub use thought::{Maker, Seal, Thought};
pub use tool::{Function, Tool, ToolChoice};
pub use usage::Usage;
