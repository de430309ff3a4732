//! ffmpeg's `select` expression for chosen frames: a binary search, which is neither deep nor slow.
//!
//! ffmpeg refuses an expression of more than 100 levels, and a plain sum of `eq(n,…)` has one for each
//! frame.

/// Frames of a leaf, which are compared one by one.
const LEAF: usize = 4;

/// An expression that is not 0 for the frames whose number is in `chosen`, which rises.
pub fn expression(chosen: &[usize]) -> String {
    if chosen.len() <= LEAF {
        let equal: Vec<_> = chosen
            .iter()
            .map(|frame| format!("eq(n,{frame})"))
            .collect();
        return equal.join("+");
    }
    let (low, high) = chosen.split_at(chosen.len() / 2);
    format!(
        "if(lt(n,{}),{},{})",
        high[0],
        expression(low),
        expression(high)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_has_few_levels() {
        assert_eq!(expression(&[3, 8]), "eq(n,3)+eq(n,8)");
        let five = expression(&[0, 1, 2, 5, 9]);
        assert_eq!(five, "if(lt(n,2),eq(n,0)+eq(n,1),eq(n,2)+eq(n,5)+eq(n,9))");
        let many = expression(&(0..768).map(|n| n * 7).collect::<Vec<_>>());
        let levels = many.chars().scan(0, |level, c| {
            *level += i32::from(c == '(') - i32::from(c == ')');
            Some(*level)
        });
        assert!(
            levels.max().unwrap() < 12 && many.len() < 16_000,
            "{}",
            many.len()
        );
        assert_eq!(many.matches("eq(").count(), 768);
    }
}
