//! A walk over the frames of a stream, rule by rule, until one is broken.

use std::collections::BTreeSet;

use ringwire_protocol::ws::Role;

use crate::Fault;

/// The first frame that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Every rule that it breaks.
    pub faults: BTreeSet<Fault>,
    /// Those of them that tungstenite looks for: neither how a length is written, nor a close code
    /// that must not be sent.
    pub shared: BTreeSet<Fault>,
    /// Whether all of it has arrived: who looks at whole frames only sees nothing otherwise.
    pub is_whole: bool,
}

impl Bad {
    fn new(faults: BTreeSet<Fault>, header: &Header, is_whole: bool) -> Self {
        let is_shared = |fault: &Fault| match fault {
            Fault::Length | Fault::CloseCode => false,
            // A short length in a long form is a matter of form alone.
            Fault::ControlTooLong => header.len > 125,
            _ => true,
        };
        let shared = faults.iter().copied().filter(is_shared).collect();
        Self { faults, shared, is_whole }
    }
}

/// A header as it is written, whatever it means.
struct Header {
    fin: bool,
    reserved: u8,
    opcode: u8,
    masked: bool,
    short_len: u8,
    len: u64,
    key: [u8; 4],
    bytes: usize,
}

/// A message that is not finished.
struct Open {
    is_text: bool,
    bytes: Vec<u8>,
}

/// The first bad frame; `None` if all are good as far as they go, or the peer has closed before.
#[must_use]
pub fn first_bad(role: Role, message_bytes_max: usize, mut stream: &[u8]) -> Option<Bad> {
    let mut open: Option<Open> = None;
    loop {
        let Some(header) = header(stream) else { return cut_header(role, open.is_some(), stream) };
        let payload_here = &stream[header.bytes..];
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        let is_whole = payload_here.len() >= len;
        let mut payload = payload_here[..len.min(payload_here.len())].to_vec();
        if header.masked {
            for (index, byte) in payload.iter_mut().enumerate() {
                *byte ^= header.key[index % 4];
            }
        }
        let mut faults = head_faults(&header, role, open.is_some());
        let gathered = open.as_ref().map_or(0, |open| open.bytes.len());
        let is_control = header.opcode >= 8;
        if !is_control && header.len > message_bytes_max.saturating_sub(gathered) as u64 {
            faults.insert(Fault::TooBig);
        }
        if is_control && header.len > message_bytes_max as u64 {
            faults.insert(Fault::TooBig);
        }
        if faults.is_empty() {
            let ends = is_control || header.fin;
            faults.extend(payload_fault(&header, &payload, &mut open, is_whole, ends));
        }
        if !faults.is_empty() {
            return Some(Bad::new(faults, &header, is_whole));
        }
        if !is_whole || header.opcode == 8 {
            return None;
        }
        stream = &payload_here[len..];
    }
}

fn head_faults(header: &Header, role: Role, is_open: bool) -> BTreeSet<Fault> {
    let mut faults = BTreeSet::new();
    let mut note = |is_broken: bool, fault| {
        if is_broken {
            faults.insert(fault);
        }
    };
    note(header.reserved != 0, Fault::ReservedBits);
    note(header.masked != (role == Role::Server), Fault::Mask);
    note(matches!(header.opcode, 3..=7 | 11..=15), Fault::Opcode);
    note(header.opcode >= 8 && !header.fin, Fault::ControlFragmented);
    note(header.opcode >= 8 && header.short_len > 125, Fault::ControlTooLong);
    note(header.opcode == 0 && !is_open, Fault::Order);
    note(matches!(header.opcode, 1 | 2) && is_open, Fault::Order);
    let least = [0, 126, 65_536][usize::from(header.short_len.max(125) - 125)];
    note(header.len < least || header.len > i64::MAX.cast_unsigned(), Fault::Length);
    faults
}

fn payload_fault(
    header: &Header,
    payload: &[u8],
    open: &mut Option<Open>,
    is_whole: bool,
    ends: bool,
) -> Option<Fault> {
    match header.opcode {
        8 if is_whole => match payload {
            [] => None,
            [_] => Some(Fault::CloseTooShort),
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                let is_good = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                if !is_good {
                    return Some(Fault::CloseCode);
                }
                std::str::from_utf8(reason).is_err().then_some(Fault::Utf8)
            }
        },
        8..=10 => None,
        _ => {
            let is_text = header.opcode == 1;
            let message = open.get_or_insert(Open { is_text, bytes: Vec::new() });
            message.bytes.extend_from_slice(payload);
            let utf8 = std::str::from_utf8(&message.bytes).err().filter(|_| message.is_text);
            let is_over = is_whole && ends;
            let is_bad = utf8.is_some_and(|error| is_over || error.error_len().is_some());
            if is_over {
                *open = None;
            }
            is_bad.then_some(Fault::Utf8)
        }
    }
}

fn header(bytes: &[u8]) -> Option<Header> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let short_len = second & 0x7F;
    let (len, at) = match short_len {
        126 => (u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    let masked = second & 0x80 != 0;
    let key = if masked { *bytes.get(at..)?.first_chunk()? } else { [0; 4] };
    Some(Header {
        fin: first & 0x80 != 0,
        reserved: first & 0x70,
        opcode: first & 0x0F,
        masked,
        short_len,
        len,
        key,
        bytes: at + if masked { 4 } else { 0 },
    })
}

/// What is wrong with a header of which only a part is there, as far as that can be seen.
fn cut_header(role: Role, is_open: bool, bytes: &[u8]) -> Option<Bad> {
    bytes.first()?;
    // The rest of it as good as can be: then what is wrong is in the part that is there.
    let good_mask = if role == Role::Server { 0x80 } else { 0 };
    let mut whole = bytes.to_vec();
    if whole.len() == 1 {
        whole.push(good_mask);
    }
    let known = whole.len();
    whole.resize(14, 0);
    let header = header(&whole).expect("14 bytes are a header");
    let mut faults = head_faults(&header, role, is_open);
    let length_end = match header.short_len {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    if known < length_end {
        faults.remove(&Fault::Length);
    }
    (!faults.is_empty()).then(|| Bad::new(faults, &header, false))
}
