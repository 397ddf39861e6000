//! What stands above the lines.

use super::TextOptions;

/// Numbers of events, from the `stats` of all CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// That are there.
    pub in_buffer: u64,
    /// That were written: those there and those that were overwritten.
    pub written: u64,
}

pub(super) fn print(out: &mut Vec<u8>, options: &TextOptions, counts: Option<Counts>) {
    let mut text = format!("# tracer: {}\n#\n", options.tracer);
    if options.tracer == "function_graph" {
        options.graph.header(&mut text);
    } else {
        if let Some(Counts { in_buffer, written }) = counts {
            text += &format!(
                "# entries-in-buffer/entries-written: {in_buffer}/{written}   #P:{}\n#\n",
                options.cpus
            );
        }
        let tgid = options.tgids.is_some();
        let space = if tgid { "            " } else { "  " };
        let (task, line) = if tgid { ("     TGID    ", "      |       ") } else { ("   ", "    ") };
        if options.irq_info {
            for line in [
                "                            _-----=> irqs-off/BH-disabled",
                "                           / _----=> need-resched",
                "                          | / _---=> hardirq/softirq",
                "                          || / _--=> preempt-depth",
                "                          ||| / _-=> migrate-disable",
                "                          |||| /     delay",
            ] {
                text += &format!("#{space}  {line}\n");
            }
            text += &format!("#           TASK-PID  {task}CPU#  |||||  TIMESTAMP  FUNCTION\n");
            text += &format!("#              | |     {line}|   |||||     |         |\n");
        } else {
            text += &format!("#           TASK-PID  {task}CPU#     TIMESTAMP  FUNCTION\n");
            text += &format!("#              | |     {line}|         |         |\n");
        }
    }
    out.extend_from_slice(text.as_bytes());
}
