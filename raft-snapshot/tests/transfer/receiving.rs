//! The receiving node: it carries out what its receiver orders, on a disk that loses power.

use raftkit_core::Time;
use raftkit_snapshot::{Audience, Receiver, ReceiverInput, ReceiverOptions, ReceiverOutput};

use crate::common::{content, open};
use crate::world::{Event, World};

impl World {
    pub(crate) fn receive(&mut self, input: ReceiverInput) {
        let mut out = Vec::new();
        self.receiver.handle(Time(self.now), input, &mut out);
        for output in out {
            self.work(output);
        }
    }

    /// Carries out an output of the receiver; the results follow later, in order.
    fn work(&mut self, output: ReceiverOutput) {
        let answer = match output {
            ReceiverOutput::Open(manifest) => {
                assert!(self.partial.is_none(), "one at a time");
                let partial = self.dir.partial(&manifest).unwrap();
                let have = partial.have().clone();
                self.partial = Some(partial);
                ReceiverInput::Opened { have }
            }
            ReceiverOutput::Store { chunk, bytes } => {
                self.partial.as_mut().unwrap().store(chunk, &bytes).unwrap();
                ReceiverInput::Stored { chunk }
            }
            ReceiverOutput::Finish => {
                self.finished = Some(self.partial.take().unwrap().finish().unwrap());
                ReceiverInput::Finished
            }
            ReceiverOutput::Install(manifest) => {
                let file = self.finished.take().unwrap();
                assert_eq!(file.manifest(), &manifest);
                assert_eq!(content(&file), self.data[&manifest.id]);
                assert!(self.applied < manifest.id.index, "the state does not go back");
                self.applied = manifest.id.index;
                ReceiverInput::Installed
            }
            ReceiverOutput::Discard => {
                self.partial = None;
                self.finished = None;
                return;
            }
            ReceiverOutput::Send { to, message } => {
                assert_eq!(message.audience(), Audience::Sender);
                self.send(&message, |bytes| Event::ToSender(to, bytes));
                return;
            }
        };
        // Occasionally longer than any time-out: a slow disk is no reason to fail.
        let took = if self.rng.percent(self.hangs) { 20_000_000 } else { self.rng.below(100_000) };
        self.busy_until = self.busy_until.max(self.now) + 1 + took;
        self.at(self.busy_until, Event::Done(self.life, answer));
    }

    pub(crate) fn crash(&mut self) {
        self.life += 1;
        self.busy_until = 0;
        self.disk.freeze();
        (self.partial, self.finished) = (None, None);
        self.disk.crash();
        self.dir = open(&self.disk).unwrap();
        self.receiver = Receiver::new(ReceiverOptions::default());
    }
}
