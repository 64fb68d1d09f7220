//! Lua scripts, called by their hash.

use redis::{Cmd, FromRedisValue, RedisResult, Script, ServerErrorKind, cmd};

use crate::incarnation::PRELUDE;
use crate::server::Connection;

/// A script and its hash.
pub(crate) struct Lua {
    script: Script,
    code: String,
}

impl Lua {
    /// The script behind the common prelude.
    pub(crate) fn new(code: &str) -> Self {
        let code = format!("{PRELUDE}\n{code}");
        Self { script: Script::new(&code), code }
    }

    /// A call of it.
    pub(crate) fn call<'a>(&'a self, keys: &'a [String]) -> Call<'a> {
        Call { lua: self, keys, args: Vec::new() }
    }
}

/// A call that is being put together.
pub(crate) struct Call<'a> {
    lua: &'a Lua,
    keys: &'a [String],
    args: Vec<Vec<u8>>,
}

impl Call<'_> {
    /// Adds an argument.
    pub(crate) fn arg(mut self, arg: impl ToString) -> Self {
        self.add(arg);
        self
    }

    /// Adds an argument.
    pub(crate) fn add(&mut self, arg: impl ToString) {
        self.args.push(arg.to_string().into_bytes());
    }

    /// Calls by hash; a server that does not know it gets the text, and is asked with that. Then nothing of
    /// the first try was run.
    pub(crate) async fn run<T: FromRedisValue>(&self, connection: &mut Connection) -> RedisResult<T> {
        match connection.query(&self.cmd("EVALSHA", self.lua.script.get_hash())).await {
            Err(error) if error.kind() == ServerErrorKind::NoScript.into() => {
                connection.query(&self.cmd("EVAL", &self.lua.code)).await
            }
            answer => answer,
        }
    }

    fn cmd(&self, name: &str, script: &str) -> Cmd {
        let mut cmd = cmd(name);
        cmd.arg(script).arg(self.keys.len()).arg(self.keys).arg(&self.args);
        cmd
    }
}
