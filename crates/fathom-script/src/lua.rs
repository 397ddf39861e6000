//! Scripts in Lua 5.4, run in this process.
//!
//! Scripts for uftrace are written for LuaJIT; `prelude.lua` has what they need of Lua 5.1.

use crate::{Begin, Call, Error, Feeding, Interest, Options, Sink, Source, Value, What};
use fathom_store::Trace;
use mlua::{Function, HookTriggers, Lua, Table, VmState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often a script that does not end is asked whether it should, in instructions.
const CHECK: u32 = 100_000;
const INTERRUPTED: &str = "interrupted";

/// A script in its interpreter.
#[derive(Debug)]
pub struct Script {
    lua: Lua,
    interest: Interest,
    interrupted: Arc<AtomicBool>,
    on_entry: Option<Function>,
    on_exit: Option<Function>,
    on_event: Option<Function>,
    keys: Keys,
    /// Of functions and events, by their numbers.
    names: Vec<mlua::Result<mlua::LuaString>>,
}

/// The names of fields, made once.
#[derive(Debug)]
struct Keys {
    tid: mlua::LuaString,
    depth: mlua::LuaString,
    timestamp: mlua::LuaString,
    address: mlua::LuaString,
    name: mlua::LuaString,
    duration: mlua::LuaString,
    args: mlua::LuaString,
    retval: mlua::LuaString,
}

impl Script {
    /// Runs what is outside of functions.
    ///
    /// # Errors
    ///
    /// A script that fails.
    pub fn load(source: &Source, text: &[u8], options: &Options) -> Result<Script, Error> {
        let lua = Lua::new();
        let interrupted = Arc::clone(&options.interrupted);
        let failed = |error: mlua::Error| failure(&error, &options.interrupted);
        let flag = Arc::clone(&interrupted);
        let triggers = HookTriggers::new().every_nth_instruction(CHECK);
        lua.set_global_hook(triggers, move |lua, _| {
            if !flag.load(Ordering::Relaxed) {
                return Ok(VmState::Continue);
            }
            // A script that catches this must not get any further.
            let always = HookTriggers::new().every_nth_instruction(1);
            lua.set_global_hook(always, |_, _| Err(mlua::Error::runtime(INTERRUPTED)))?;
            Err(mlua::Error::runtime(INTERRUPTED))
        })
        .map_err(failed)?;
        lua.load(include_str!("prelude.lua")).set_name("=fathom prelude").exec().map_err(failed)?;
        if let Source::File(path) = source {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            let dir = dir.map_or_else(|| ".".into(), |dir| dir.to_string_lossy());
            let package: Table = lua.globals().get("package").map_err(failed)?;
            let usual: String = package.get("path").map_err(failed)?;
            package.set("path", format!("{dir}/?.lua;{usual}")).map_err(failed)?;
        }
        lua.load(text).set_name(format!("@{}", source.name())).exec().map_err(failed)?;
        let function = |name: &str| lua.globals().get::<Option<Function>>(name).ok().flatten();
        let [on_entry, on_exit, on_event] = ["uftrace_entry", "uftrace_exit", "uftrace_event"].map(function);
        let mut interest = Interest {
            entry: on_entry.is_some(),
            exit: on_exit.is_some(),
            event: on_event.is_some(),
            ..Interest::default()
        };
        match lua.globals().get::<mlua::Value>("UFTRACE_FUNCS").map_err(failed)? {
            mlua::Value::Nil => {}
            mlua::Value::Table(list) => match list.sequence_values().collect::<Result<Vec<String>, _>>() {
                Ok(list) => interest.set_functions(&list, options.matching)?,
                Err(_) => interest
                    .notes
                    .push("UFTRACE_FUNCS has elements that are no strings, so it chooses nothing".into()),
            },
            _ => interest.notes.push("UFTRACE_FUNCS is no list, so it chooses nothing".into()),
        }
        let keys = Keys::new(&lua).map_err(failed)?;
        Ok(Script { lua, interest, interrupted, on_entry, on_exit, on_event, keys, names: Vec::new() })
    }

    /// What it wants to be called for.
    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    fn failed(&self, error: &mlua::Error) -> Error {
        failure(error, &self.interrupted)
    }

    /// See [`crate::Script::begin`].
    ///
    /// # Errors
    ///
    /// A script that fails.
    pub fn begin(&mut self, begin: &Begin) -> Result<(), Error> {
        let call = || -> mlua::Result<()> {
            let Some(function) = self.lua.globals().get::<Option<Function>>("uftrace_begin")? else {
                return Ok(());
            };
            let context = self.lua.create_table()?;
            context.raw_set("record", begin.record)?;
            context.raw_set("version", begin.version.as_str())?;
            context.raw_set("cmds", self.lua.create_sequence_from(begin.cmds.iter().map(String::as_str))?)?;
            function.call(context)
        };
        call().map_err(|error| self.failed(&error))
    }

    /// See [`crate::Script::feed_part`].
    ///
    /// # Errors
    ///
    /// A script that fails, a trace that can't be read.
    pub fn feed_part(&mut self, trace: &dyn Trace, feeding: &mut Feeding) -> Result<(), Error> {
        if !(self.interest.entry || self.interest.exit || self.interest.event) {
            return Ok(());
        }
        let mut caller = Caller { names: std::mem::take(&mut self.names), script: self };
        let fed = feeding.feed(trace, &caller.script.interest, &mut caller);
        self.names = caller.names;
        fed
    }

    /// See [`crate::Script::flush`].
    ///
    /// # Errors
    ///
    /// A script that fails.
    pub fn flush(&mut self) -> Result<(), Error> {
        // The C library's buffer is not ours to write.
        let flushed = self.lua.load("assert(io.stdout:flush())").set_name("=fathom").exec();
        flushed.map_err(|error| self.failed(&error))
    }

    /// See [`crate::Script::end`].
    ///
    /// # Errors
    ///
    /// A script that fails.
    pub fn end(mut self) -> Result<(), Error> {
        let call = || -> mlua::Result<()> {
            if let Some(function) = self.lua.globals().get::<Option<Function>>("uftrace_end")? {
                function.call::<()>(())?;
            }
            Ok(())
        };
        call().map_err(|error| self.failed(&error))?;
        self.flush()
    }
}

/// What went wrong, in words: the interpreter's message has file, line and traceback.
fn failure(error: &mlua::Error, interrupted: &AtomicBool) -> Error {
    let mut text = error.to_string();
    for prefix in ["runtime error: ", "syntax error: "] {
        if let Some(rest) = text.strip_prefix(prefix) {
            text = rest.to_owned();
        }
    }
    if text.contains("Broken pipe") {
        return Error::Pipe(std::io::ErrorKind::BrokenPipe.into());
    }
    if interrupted.load(Ordering::Relaxed) {
        let place = text.lines().map(str::trim).find(|line| line.contains(".lua:"));
        return Error::Interrupted(place.map_or_else(String::new, |place| format!(" at {place}")));
    }
    Error::Script(text)
}

impl Keys {
    fn new(lua: &Lua) -> mlua::Result<Keys> {
        Ok(Keys {
            tid: lua.create_string("tid")?,
            depth: lua.create_string("depth")?,
            timestamp: lua.create_string("timestamp")?,
            address: lua.create_string("address")?,
            name: lua.create_string("name")?,
            duration: lua.create_string("duration")?,
            args: lua.create_string("args")?,
            retval: lua.create_string("retval")?,
        })
    }
}

struct Caller<'s> {
    script: &'s Script,
    names: Vec<mlua::Result<mlua::LuaString>>,
}

impl Caller<'_> {
    fn value(&self, value: &Value<'_>) -> mlua::Result<mlua::Value> {
        Ok(match value {
            Value::Signed(number) => mlua::Value::Integer(*number),
            // Lua's numbers have a sign; the bits are the same.
            Value::Unsigned(number) => mlua::Value::Integer(number.cast_signed()),
            Value::Float(number) => mlua::Value::Number(*number),
            Value::Text(text) => mlua::Value::String(self.script.lua.create_string(text)?),
        })
    }

    fn list(&self, call: &Call<'_>) -> mlua::Result<Table> {
        let list = self.script.lua.create_table()?;
        for value in call.values() {
            list.raw_push(self.value(&value)?)?;
        }
        Ok(list)
    }

    fn context(&self, call: &Call<'_>) -> mlua::Result<Table> {
        let (lua, keys) = (&self.script.lua, &self.script.keys);
        let context = lua.create_table_with_capacity(0, 8)?;
        context.raw_set(&keys.tid, call.tid)?;
        context.raw_set(&keys.depth, call.depth)?;
        context.raw_set(&keys.timestamp, call.time.cast_signed())?;
        context.raw_set(&keys.address, call.address.cast_signed())?;
        let duration = match call.what {
            What::Exit { duration } => duration.cast_signed(),
            _ => 0,
        };
        context.raw_set(&keys.duration, duration)?;
        match self.names.get(call.name as usize) {
            Some(Ok(name)) => context.raw_set(&keys.name, name)?,
            Some(Err(error)) => return Err(error.clone()),
            None => {}
        }
        match call.what {
            What::Event if call.text().is_empty() => {}
            What::Event => context.raw_set(&keys.args, call.text())?,
            _ if !call.has_values() => {}
            What::Entry => context.raw_set(&keys.args, self.list(call)?)?,
            What::Exit { .. } => {
                let mut values = call.values();
                match (values.next(), values.next()) {
                    (Some(only), None) => context.raw_set(&keys.retval, self.value(&only)?)?,
                    _ => context.raw_set(&keys.retval, self.list(call)?)?,
                }
            }
        }
        Ok(context)
    }
}

impl Sink for Caller<'_> {
    fn name(&mut self, _number: u32, text: &str) {
        self.names.push(self.script.lua.create_string(text));
    }

    fn call(&mut self, call: &Call<'_>) -> Result<(), Error> {
        let function = match call.what {
            What::Entry => &self.script.on_entry,
            What::Exit { .. } => &self.script.on_exit,
            What::Event => &self.script.on_event,
        };
        let Some(function) = function else { return Ok(()) };
        let called = self.context(call).and_then(|context| function.call::<()>(context));
        called.map_err(|error| self.script.failed(&error))
    }
}
