//! Parameters of streams.

use super::{Got, read, value};
use crate::abi::{Status, StreamStatistics, param};
use crate::stream::Stream;

pub(super) fn set(of: &Stream, parameter: u32, bytes: &[u8]) -> Result<(), Status> {
    match parameter {
        param::STREAM_PRIORITY => of.set_priority(read(bytes)?),
        param::STREAM_RELIABLE_OFFSET => of.set_reliable_offset(read(bytes)?),
        _ => Err(Status::INVALID_PARAMETER),
    }
}

pub(super) fn get(of: &Stream, parameter: u32) -> Got {
    Ok(match parameter {
        param::STREAM_ID => value(of.id().ok_or(Status::INVALID_STATE)?),
        param::STREAM_0RTT_LENGTH => value(of.early()?),
        param::STREAM_IDEAL_SEND_BUFFER_SIZE => value(of.ideal()),
        param::STREAM_PRIORITY => value(of.priority()),
        param::STREAM_RELIABLE_OFFSET => match of.reliable_offset() {
            0 => return Err(Status::INVALID_STATE.into()),
            offset => value(offset),
        },
        param::STREAM_STATISTICS => {
            let blocked = of.look()?.blocked.unwrap_or_default();
            let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            value(StreamStatistics {
                conn_blocked_by_scheduling_us: micros(blocked.scheduling),
                conn_blocked_by_pacing_us: micros(blocked.pacing),
                conn_blocked_by_amplification_prot_us: micros(blocked.amplification),
                conn_blocked_by_congestion_control_us: micros(blocked.congestion_control),
                conn_blocked_by_flow_control_us: micros(blocked.connection_flow_control),
                stream_blocked_by_id_flow_control_us: micros(blocked.stream_limit),
                stream_blocked_by_flow_control_us: micros(blocked.stream_flow_control),
                stream_blocked_by_app_us: micros(blocked.application),
            })
        }
        _ => return Err(Status::INVALID_PARAMETER.into()),
    })
}
