//! What a pipeline must give, computed in the plainest way: every event a JSON value, every window
//! a list of events. And what is needed to put weir beside it: events of a fleet, running services.

pub(crate) mod cars;
pub(crate) mod event;
pub(crate) mod fleet;
pub(crate) mod metric;
pub(crate) mod service;
pub(crate) mod stateful;
