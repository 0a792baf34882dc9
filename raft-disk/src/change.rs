//! A change of a simulated file on its way to the medium: what becomes of it, and which others it must keep its order to.

use std::ops::Range;

use crate::image::{BLOCK, Image};
use crate::images::SECTOR;
use crate::rng::Rng;
use crate::unreadable::Unreadable;

/// A change that is not durable.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

/// What became of an unsynced change at a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    Lost,
    Torn,
}

impl Change {
    pub(crate) fn apply(&self, image: &mut Image) {
        match self {
            Self::Write { offset, data } => image.write(*offset, data),
            Self::SetLen(len) => image.resize(*len),
        }
    }

    /// Reaches the medium.
    pub(crate) fn settle(&self, image: &mut Image, unreadable: &mut Unreadable) {
        self.apply(image);
        match self {
            Self::Write { offset, data } => {
                unreadable.settled(*offset..offset + data.len(), image.len());
            }
            Self::SetLen(len) => unreadable.settled_len(*len),
        }
    }

    /// Reaches the medium as a whole, not at all, or in some of its sectors.
    pub(crate) fn survive(&self, image: &mut Image, unreadable: &mut Unreadable, rng: &mut Rng) -> Fate {
        match (rng.below(3), self) {
            (0, _) => Fate::Lost,
            (1, _) | (_, Self::SetLen(_)) => {
                self.settle(image, unreadable);
                Fate::Kept
            }
            (_, Self::Write { offset, data }) => {
                let (mut done, mut kept, mut lost) = (0, false, false);
                while done < data.len() {
                    let at = offset + done;
                    let end = data.len().min(done + SECTOR - at % SECTOR);
                    if rng.coin() {
                        image.write(at, &data[done..end]);
                        unreadable.settled(at..offset + end, image.len());
                        kept = true;
                    } else {
                        lost = true;
                    }
                    done = end;
                }
                match (kept, lost) {
                    (true, true) => Fate::Torn,
                    (true, false) => Fate::Kept,
                    (false, _) => Fate::Lost,
                }
            }
        }
    }

    pub(crate) fn writes(&self, at: usize) -> bool {
        match self {
            Self::Write { offset, data } => (*offset..offset + data.len()).contains(&at),
            Self::SetLen(len) => at >= *len,
        }
    }

    pub(crate) fn reach(&self) -> Reach {
        match self {
            Self::Write { offset, data } => Reach::Pages(pages(*offset..offset + data.len())),
            Self::SetLen(len) => Reach::From(*len),
        }
    }
}

/// What of a file a change bears on. Changes that do not clash may reach the medium in any order.
pub(crate) enum Reach {
    /// These bytes: whole pages, as the cache writes nothing less.
    Pages(Range<usize>),
    /// All bytes from here on.
    From(usize),
}

impl Reach {
    pub(crate) fn clashes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pages(one), Self::Pages(two)) => one.start < two.end && two.start < one.end,
            (Self::Pages(pages), Self::From(len)) | (Self::From(len), Self::Pages(pages)) => pages.end > *len,
            (Self::From(_), Self::From(_)) => true,
        }
    }
}

/// The pages that a range touches, in bytes.
pub(crate) fn pages(range: Range<usize>) -> Range<usize> {
    range.start / BLOCK * BLOCK..range.end.div_ceil(BLOCK) * BLOCK
}
