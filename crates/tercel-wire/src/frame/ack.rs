//! The ranges of an ACK frame (RFC 9000 section 19.3.1).

use std::ops::RangeInclusive;

use super::{AckFrame, EcnCounts};
use crate::{DecodeError, Reader, VarInt, Writer};

const MALFORMED: DecodeError = DecodeError::Malformed("ACK range below packet number 0");

impl<'a> AckFrame<'a> {
    /// Reads the frame behind its type, and checks that no range goes below 0.
    pub(super) fn decode(reader: &mut Reader<'a>, with_ecn: bool) -> Result<Self, DecodeError> {
        let (largest, delay) = (reader.varint()?, reader.varint()?);
        let (range_count, first_range) = (reader.varint()?, reader.varint()?);
        // RFC 9000 section 19.3.1#1.
        let mut smallest = largest.checked_sub(first_range).ok_or(MALFORMED)?;
        let encoded = reader.peek();
        for _ in 0..range_count {
            let (gap, len) = (reader.varint()?, reader.varint()?);
            smallest = smallest.checked_sub(gap + 2).and_then(|top| top.checked_sub(len)).ok_or(MALFORMED)?;
        }
        let ranges = &encoded[..encoded.len() - reader.remaining()];
        let ecn = match with_ecn {
            true => Some(EcnCounts { ect0: reader.varint()?, ect1: reader.varint()?, ce: reader.varint()? }),
            false => None,
        };
        Ok(Self { largest, delay, first_range, range_count, ranges, ecn })
    }

    /// The acknowledged packet numbers, from the largest range down.
    pub const fn iter(&self) -> AckRanges<'a> {
        AckRanges { next: Some((self.largest, self.first_range)), rest: Reader::new(self.ranges) }
    }

    pub(super) fn encoded_len(&self) -> usize {
        let varints = [self.largest, self.delay, self.range_count, self.first_range];
        let ecn = self.ecn.map_or(0, ecn_len);
        1 + varints.into_iter().map(VarInt::encoded_len).sum::<usize>() + self.ranges.len() + ecn
    }

    pub(super) fn encode(&self, writer: &mut Writer<'_>) {
        writer.u8(if self.ecn.is_some() { 0x03 } else { 0x02 });
        for value in [self.largest, self.delay, self.range_count, self.first_range] {
            writer.varint(value);
        }
        writer.bytes(self.ranges);
        write_ecn(writer, self.ecn);
    }
}

fn ecn_len(ecn: EcnCounts) -> usize {
    [ecn.ect0, ecn.ect1, ecn.ce].into_iter().map(VarInt::encoded_len).sum()
}

fn write_ecn(writer: &mut Writer<'_>, ecn: Option<EcnCounts>) {
    for value in ecn.iter().flat_map(|ecn| [ecn.ect0, ecn.ect1, ecn.ce]) {
        writer.varint(value);
    }
}

/// The ranges of an ACK frame, descending.
#[derive(Debug, Clone)]
pub struct AckRanges<'a> {
    /// The largest number of the next range and how many lie below it.
    next: Option<(u64, u64)>,
    rest: Reader<'a>,
}

impl Iterator for AckRanges<'_> {
    type Item = RangeInclusive<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        let (largest, len) = self.next?;
        let smallest = largest.checked_sub(len)?;
        self.next = match (self.rest.varint(), self.rest.varint()) {
            (Ok(gap), Ok(len)) => smallest.checked_sub(gap + 2).map(|largest| (largest, len)),
            _ => None,
        };
        Some(smallest..=largest)
    }
}

/// Writes an ACK frame of `ranges` (descending, not empty, not touching), as many of them as fit.
/// Returns false, and writes nothing, if not even the first fits.
pub fn encode_ack(
    writer: &mut Writer<'_>,
    mut ranges: impl Iterator<Item = RangeInclusive<u64>> + Clone,
    delay: u64,
    ecn: Option<EcnCounts>,
) -> bool {
    let Some(first) = ranges.next() else { return false };
    let (largest, first_len) = (*first.end(), first.end() - first.start());
    // The count of ranges is written before them: allow two bytes for it, up to 16383 ranges.
    let fixed = 1
        + VarInt::encoded_len(largest)
        + VarInt::encoded_len(delay)
        + 2
        + VarInt::encoded_len(first_len)
        + ecn.map_or(0, ecn_len);
    let Some(mut room) = writer.remaining().checked_sub(fixed) else { return false };
    let mut count = 0u16;
    let mut smallest = *first.start();
    for range in ranges.clone() {
        let len = VarInt::encoded_len(smallest.saturating_sub(range.end() + 2))
            + VarInt::encoded_len(range.end() - range.start());
        if len > room || count == 16383 {
            break;
        }
        room -= len;
        count += 1;
        smallest = *range.start();
    }
    writer.u8(if ecn.is_some() { 0x03 } else { 0x02 });
    writer.varint(largest);
    writer.varint(delay);
    writer.varint(u64::from(count));
    writer.varint(first_len);
    let mut smallest = *first.start();
    for range in ranges.take(usize::from(count)) {
        writer.varint(smallest.saturating_sub(range.end() + 2));
        writer.varint(range.end() - range.start());
        smallest = *range.start();
    }
    write_ecn(writer, ecn);
    true
}

#[cfg(test)]
mod tests;
