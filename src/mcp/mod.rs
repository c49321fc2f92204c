//! The MCP gateway: many MCP servers behind one endpoint, with the callers, policies and limits of the models.
//!
//! `/mcp` offers the tools of all servers, each as `{server}_{tool}`; `/mcp/{server}` those of one server by
//! their own names; `GET /mcp/tools` lists them for whoever speaks no MCP. Callers of both eras of the
//! protocol are served, those that begin with `initialize` (2024-11-05 to 2025-11-25) and those that do not
//! (2026-07-28), and servers of both eras are asked, in any combination.
//!
//! No state is kept of a caller: a call can come to any instance. What is kept of a server is shared by all
//! callers: a connection or a process, the session where it wants one, and its list of tools.
//!
//! | module | what it is |
//! |---|---|
//! | [`version`] | the versions of the protocol |
//! | [`request`] | what a caller asks |
//! | [`fault`] | what is wrong with it |
//! | [`reply`] | what a caller is answered |
//! | [`server`] | the servers, and what is known of each |
//! | [`catalog`] | the tools of one server |
//! | `threads` | where servers are asked for their tools |
//! | [`under_way`] | calls under way, so that they can be cancelled |
//! | [`upstream`] | one request to a server, by HTTP or over a child's standard input and output |
//! | [`members`] | JSON objects taken apart one level deep, everything else left as it is written |

pub mod catalog;
pub mod fault;
pub mod members;
pub mod reply;
pub mod request;
pub mod server;
mod threads;
pub mod under_way;
pub mod upstream;
pub mod version;
