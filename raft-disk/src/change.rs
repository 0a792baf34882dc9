//! A change of a simulated file that is not on the medium yet: what happens to it, and which changes it must stay in
//! order with.

use std::ops::Range;

use crate::image::{BLOCK, Image};
use crate::images::SECTOR;
use crate::rng::Rng;
use crate::unreadable::Unreadable;

/// A change that is not durable yet.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

/// Fate of an unsynced change in a crash.
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

    /// Applies the change to the medium.
    pub(crate) fn settle(&self, image: &mut Image, unreadable: &mut Unreadable) {
        self.apply(image);
        match self {
            Self::Write { offset, data } => {
                unreadable.settled(*offset..offset + data.len(), image.len());
            }
            Self::SetLen(len) => unreadable.settled_len(*len),
        }
    }

    /// Applies the change to the medium completely, not at all, or only some of its sectors.
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

/// The part of a file that a change affects. Changes that do not overlap may reach the medium in any order.
pub(crate) enum Reach {
    /// These bytes, extended to whole pages, because the cache writes back nothing smaller.
    Pages(Range<usize>),
    /// All bytes from this offset on.
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

/// Extends a range of bytes to whole pages.
pub(crate) fn pages(range: Range<usize>) -> Range<usize> {
    range.start / BLOCK * BLOCK..range.end.div_ceil(BLOCK) * BLOCK
}
