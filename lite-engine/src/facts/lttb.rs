//! Fewer points of the same shape: largest triangle, three buckets.

/// A figure at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// When.
    pub x: f64,
    /// How much.
    pub y: f64,
}

/// At most `most` of the points: the first, the last, and of each of the equal
/// parts in between the one that makes the largest triangle with the one chosen
/// before it and the middle of the part after it.
pub fn downsample(points: &[Point], most: usize) -> Vec<Point> {
    if points.len() <= most {
        return points.to_vec();
    }
    let (Some(&first), Some(&last)) = (points.first(), points.last()) else {
        return Vec::new();
    };
    if most < 3 {
        return [first, last].into_iter().take(most).collect();
    }
    let inner = &points[1..points.len() - 1];
    let parts = most - 2;
    let part = |n: usize| &inner[n * inner.len() / parts..(n + 1) * inner.len() / parts];
    let mut chosen = vec![first];
    let mut before = first;
    for n in 0..parts {
        let after = if n + 1 < parts {
            middle(part(n + 1))
        } else {
            last
        };
        let area = |point: &Point| {
            ((before.x - after.x) * (point.y - before.y)
                - (before.x - point.x) * (after.y - before.y))
                .abs()
        };
        let largest = part(n).iter().max_by(|a, b| area(a).total_cmp(&area(b)));
        if let Some(&point) = largest {
            chosen.push(point);
            before = point;
        }
    }
    chosen.push(last);
    chosen
}

#[expect(clippy::cast_precision_loss, reason = "a mean for people")]
fn middle(points: &[Point]) -> Point {
    let count = points.len().max(1) as f64;
    Point {
        x: points.iter().map(|point| point.x).sum::<f64>() / count,
        y: points.iter().map(|point| point.y).sum::<f64>() / count,
    }
}
