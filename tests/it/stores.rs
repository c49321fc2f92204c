//! The stores: one contract, every database.

mod contract;
mod postgres;
mod sqlite;

use sluicegate::stores::records::MemberRole;
