//! Blocks of query rows, which the CPU computes in parallel.

/// A block of query rows of one head.
pub(super) struct Task<'a> {
    pub(super) batch: usize,
    pub(super) head: usize,
    /// The index of the first query.
    pub(super) first: usize,
    /// The output of every query, `[head_dim]`.
    pub(super) out: Vec<&'a mut [f32]>,
}

/// Splits `out [batch, q_tokens, heads, head_dim]` into blocks of at most `rows` queries.
pub(super) fn tasks(
    out: &mut [f32],
    [heads, q_tokens, head_dim]: [usize; 3],
    rows: usize,
) -> Vec<Task<'_>> {
    let blocks = q_tokens.div_ceil(rows);
    let count = out.len() / (q_tokens * head_dim) * blocks;
    let mut tasks: Vec<_> = (0..count)
        .map(|task| Task {
            batch: task / blocks / heads,
            head: task / blocks % heads,
            first: task % blocks * rows,
            out: Vec::with_capacity(rows.min(q_tokens)),
        })
        .collect();
    for (row, out) in out.chunks_exact_mut(head_dim).enumerate() {
        let (batch, token, head) = (row / heads / q_tokens, row / heads % q_tokens, row % heads);
        tasks[(batch * heads + head) * blocks + token / rows]
            .out
            .push(out);
    }
    tasks
}
