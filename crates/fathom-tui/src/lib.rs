//! The terminal user interface.
#![allow(dead_code)]
mod timeline;
mod view;
mod work;
