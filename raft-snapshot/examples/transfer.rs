//! Carries a snapshot from one folder to another: a sender, a receiver, and a driver that does what both order.
//! `cargo run -p raftkit-snapshot --example transfer`

use std::{error::Error, io::Write, sync::Arc};

use raftkit_core::{LogId, LogIndex, Membership, NodeId, Time};
use raftkit_disk::SimulatedDisk;
use raftkit_snapshot::{
    Receiver, ReceiverInput, ReceiverOptions, ReceiverOutput, Sender, SenderInput, SenderOptions,
    SenderOutput, SnapshotDir,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = |seed| SnapshotDir::new(Arc::new(SimulatedDisk::new(seed)), "/snapshots".into());
    let (from, to, now) = (folder(1)?, folder(2)?, Time::default());
    let mut writer = from.create(Membership::default())?;
    writer.write_all(&[7; 400_000])?;
    let source = writer.finish(LogId::new(3, 50))?;

    let mut sender = Sender::new(NodeId(2), source.manifest().clone(), SenderOptions::default());
    let mut receiver = Receiver::new(ReceiverOptions::default());
    let mut partial = to.partial(source.manifest())?;
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    sender.handle(now, SenderInput::Start, &mut sent);
    let outcome = 'transfer: loop {
        for output in std::mem::take(&mut sent) {
            match output {
                SenderOutput::Send(message) => {
                    let (from, applied) = (NodeId(1), LogIndex::ZERO);
                    receiver.handle(now, ReceiverInput::Message { from, message, applied }, &mut received);
                }
                SenderOutput::ReadChunk { chunk } => {
                    let bytes = source.read_chunk(chunk)?;
                    sender.handle(now, SenderInput::ChunkRead { chunk, bytes }, &mut sent);
                }
                SenderOutput::Done(outcome) => break 'transfer outcome,
            }
        }
        for output in std::mem::take(&mut received) {
            let done = match output {
                ReceiverOutput::Open(_) => ReceiverInput::Opened { have: partial.have().clone() },
                ReceiverOutput::Store { chunk, bytes } => {
                    partial.store(chunk, &bytes)?;
                    ReceiverInput::Stored { chunk }
                }
                ReceiverOutput::Finish => ReceiverInput::Finished,
                ReceiverOutput::Install(_) => ReceiverInput::Installed,
                ReceiverOutput::Discard => return Err("the transfer failed".into()),
                ReceiverOutput::Send { message, .. } => {
                    sender.handle(now, SenderInput::Message(message), &mut sent);
                    continue;
                }
            };
            receiver.handle(now, done, &mut received);
        }
    };
    println!("{outcome:?}: {} bytes arrived", partial.finish()?.manifest().length);
    Ok(())
}
