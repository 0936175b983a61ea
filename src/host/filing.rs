//! Writing `run.json` of finished runs, on a thread of its own so that a slow disk does not hold up the scheduler.

use std::sync::mpsc;
use std::thread::JoinHandle;

use super::prepare::RunHead;
use super::runfile::RunFile;
use super::turn::Message;
use super::workspace::Workspace;
use crate::run::RunState;

/// The thread, and the way to it.
pub(super) struct Filing {
    sender: Option<mpsc::Sender<(Box<RunState>, RunHead)>>,
    thread: Option<JoinHandle<()>>,
}

impl Filing {
    /// Starts the thread; it reports each finished file to `inbox`.
    pub(super) fn start(workspace: Workspace, inbox: mpsc::Sender<Message>) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel::<(Box<RunState>, RunHead)>();
        let thread = std::thread::Builder::new().name("filing".into()).spawn(move || {
            for (state, head) in receiver {
                let file = RunFile::of(&state, &head);
                if let Err(error) = file.write(&workspace) {
                    // The journal has the run; the file is made at the next start.
                    tracing::error!(run = %file.run.run_id, %error, "run.json could not be written");
                }
                if inbox.send(Message::Filed(Box::new(file.run))).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Hands a finished run over.
    pub(super) fn file(&self, state: RunState, head: RunHead) {
        if let Some(sender) = &self.sender {
            // The thread ends only after this sender.
            let _ = sender.send((Box::new(state), head));
        }
    }
}

impl Drop for Filing {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}
