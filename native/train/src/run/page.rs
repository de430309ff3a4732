//! `index.html`: curves and samples of a run in one file that needs nothing else, and loads itself again while it runs.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::journal::Line;

/// Size of a plot in pixels.
const PLOT: [f64; 2] = [760.0, 220.0];
/// Room for the numbers beside it.
const MARGIN: [f64; 2] = [64.0, 22.0];
/// Most points of a curve: more are joined.
const POINTS: usize = 600;

/// A picture on the page.
pub(super) struct Tile {
    /// The update that it was made after.
    pub(super) update: u64,
    /// The prompt's number.
    pub(super) number: usize,
    /// What it was made of.
    pub(super) prompt: String,
    /// A PNG file.
    pub(super) png: Vec<u8>,
}

/// What the page says above the curves.
pub(super) struct Head<'a> {
    pub(super) title: &'a str,
    pub(super) updates: u64,
    pub(super) total: u64,
    pub(super) ended: bool,
    pub(super) settings: &'a str,
}

/// The page.
pub(super) fn page(head: &Head<'_>, lines: &[Line], tiles: &[Tile]) -> String {
    let refresh = match head.ended {
        true => "",
        false => "<meta http-equiv=\"refresh\" content=\"20\">",
    };
    let state = match head.ended {
        true => "ended",
        false => "runs",
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">{refresh}<title>{title}</title><style>{STYLE}</style></head>\n\
         <body><h1>{title}</h1><p>{updates} of {total} updates; it {state}.{last}</p>\n",
        title = escape(head.title),
        updates = head.updates,
        total = head.total,
        last = last(lines),
    );
    let curve = |of: fn(&Line) -> Option<f64>| -> Vec<[f64; 2]> {
        let points = lines.iter();
        points
            .filter_map(|line| Some([line.update as f64, of(line)?]))
            .collect()
    };
    let losses = curve(|line| line.loss);
    let validation = curve(|line| line.validation);
    page += &plot("loss", &[(&losses, "raw"), (&smooth(&losses), "mean")]);
    page += &plot(
        "loss of samples that are not trained on",
        &[(&validation, "mean")],
    );
    page += &plot(
        "norm of the gradients",
        &[(&curve(|line| line.norm), "mean")],
    );
    page += &plot("learning rate", &[(&curve(|line| line.rate), "mean")]);
    page += &samples(tiles);
    let _ = writeln!(
        page,
        "<details><summary>settings</summary><pre>{}</pre></details></body></html>",
        escape(head.settings)
    );
    page
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:860px;margin:2em auto;padding:0 1em;color:#222;background:#fff}\
h1{font-size:1.4em}h2{font-size:1em;margin:1.5em 0 .3em}svg{width:100%;height:auto}text{font-size:11px;fill:#777}\
.raw{stroke:#b9cbe6;stroke-width:1}.mean{stroke:#1f5fb4;stroke-width:2}.axis{stroke:#ddd;stroke-width:1}path{fill:none}\
table{border-collapse:collapse}td,th{padding:.3em;text-align:left;font-weight:normal;font-size:12px;vertical-align:top}\
img{width:120px;height:auto;image-rendering:auto;display:block}\
@media(prefers-color-scheme:dark){body{background:#16181c;color:#ddd}.axis{stroke:#333}.raw{stroke:#31496d}.mean{stroke:#7fb0f5}}";

fn last(lines: &[Line]) -> String {
    let mut losses = lines.iter().rev().filter_map(|line| line.loss);
    let loss = losses
        .next()
        .map(|loss| format!(" The last loss is {}.", short(loss)));
    let notes = lines.iter().rev().find_map(|line| line.note.as_ref());
    let note = notes.map(|note| format!(" {}.", escape(note)));
    loss.unwrap_or_default() + &note.unwrap_or_default()
}

/// A moving mean, each point over the twentieth of the curve before it.
fn smooth(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let window = (points.len() / 20).max(1);
    let mut sum = 0.0;
    let mean = |(at, [x, y]): (usize, &[f64; 2])| {
        sum += y;
        if at >= window {
            sum -= points[at - window][1];
        }
        [*x, sum / (at + 1).min(window) as f64]
    };
    points.iter().enumerate().map(mean).collect()
}

/// A plot of some curves over one pair of axes; nothing without two points.
fn plot(title: &str, curves: &[(&[[f64; 2]], &str)]) -> String {
    let all = || curves.iter().flat_map(|(points, _)| points.iter());
    let finite = || all().filter(|[_, y]| y.is_finite());
    if finite().count() < 2 {
        return String::new();
    }
    let range = |axis: usize| {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for point in finite() {
            low = low.min(point[axis]);
            high = high.max(point[axis]);
        }
        [low, if high > low { high } else { low + 1.0 }]
    };
    let (x, y) = (range(0), range(1));
    let place = |point: &[f64; 2]| {
        let part = |value: f64, [low, high]: [f64; 2]| (value - low) / (high - low);
        let across = MARGIN[0] + part(point[0], x) * (PLOT[0] - MARGIN[0]);
        let down = (1.0 - part(point[1], y)) * (PLOT[1] - MARGIN[1]) + 4.0;
        [across, down]
    };
    let mut svg = format!(
        "<h2>{}</h2><svg viewBox=\"0 0 {} {}\" role=\"img\"><title>{}</title>",
        escape(title),
        PLOT[0],
        PLOT[1] + 8.0,
        escape(title)
    );
    for value in [y[0], (y[0] + y[1]) / 2.0, y[1]] {
        let [_, down] = place(&[x[0], value]);
        let _ = write!(
            svg,
            "<path class=\"axis\" d=\"M{} {down:.1}H{}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            MARGIN[0],
            PLOT[0],
            MARGIN[0] - 6.0,
            down + 4.0,
            short(value)
        );
    }
    for (value, anchor) in [(x[0], "start"), (x[1], "end")] {
        let [across, _] = place(&[value, y[0]]);
        let _ = write!(
            svg,
            "<text x=\"{across:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{value}</text>",
            PLOT[1] + 4.0
        );
    }
    for (points, class) in curves {
        let path = path(points, place);
        let _ = write!(svg, "<path class=\"{class}\" d=\"{path}\"/>");
    }
    svg + "</svg>\n"
}

/// A curve through the means of neighbouring points.
fn path(points: &[[f64; 2]], place: impl Fn(&[f64; 2]) -> [f64; 2]) -> String {
    let step = points.len().div_ceil(POINTS).max(1);
    let mut path = String::new();
    for points in points.chunks(step) {
        let finite: Vec<&[f64; 2]> = points.iter().filter(|[_, y]| y.is_finite()).collect();
        let Some(last) = finite.last() else { continue };
        let mean = finite.iter().map(|[_, y]| y).sum::<f64>() / finite.len() as f64;
        let [across, down] = place(&[last[0], mean]);
        let command = if path.is_empty() { 'M' } else { 'L' };
        let _ = write!(path, "{command}{across:.1} {down:.1}");
    }
    path
}

/// A row for each prompt: untrained, then a few of the updates, the last one always.
fn samples(tiles: &[Tile]) -> String {
    /// Columns of the table.
    const MOST: usize = 6;
    let mut updates: Vec<u64> = tiles.iter().map(|tile| tile.update).collect();
    updates.sort_unstable();
    updates.dedup();
    if updates.is_empty() {
        return String::new();
    }
    let last = updates.len() - 1;
    let columns = updates.len().min(MOST);
    let shown: Vec<u64> = (0..columns)
        .map(|column| updates[column * last / (columns - 1).max(1)])
        .collect();
    let mut table = String::from("<h2>samples</h2><table><tr><th></th>");
    for update in &shown {
        let name = match update {
            0 => "untrained".to_owned(),
            update => format!("update {update}"),
        };
        let _ = write!(table, "<th>{name}</th>");
    }
    table += "</tr>\n";
    let count = tiles.iter().map(|tile| tile.number + 1).max().unwrap_or(0);
    for number in 0..count {
        let mut of_prompt = tiles.iter().filter(|tile| tile.number == number);
        let prompt = of_prompt.next().map_or("", |tile| tile.prompt.as_str());
        let _ = write!(table, "<tr><th>{}</th>", escape(prompt));
        for update in &shown {
            let tile = tiles
                .iter()
                .find(|tile| tile.number == number && tile.update == *update);
            let image = tile.map_or(String::new(), |tile| {
                let data = STANDARD.encode(&tile.png);
                let alt = format!("{} after update {update}", escape(prompt));
                format!("<img alt=\"{alt}\" src=\"data:image/png;base64,{data}\">")
            });
            let _ = write!(table, "<td>{image}</td>");
        }
        table += "</tr>\n";
    }
    table + "</table>\n"
}

/// A number in few digits.
fn short(number: f64) -> String {
    match number.abs() {
        size if size != 0.0 && !(1e-3..1e5).contains(&size) => format!("{number:.2e}"),
        size if size < 10.0 => format!("{number:.4}"),
        _ => format!("{number:.1}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(ended: bool) -> Head<'static> {
        Head {
            title: "align <b>",
            updates: 3,
            total: 3,
            ended,
            settings: "data = [\"<a>\"]",
        }
    }

    #[test]
    fn the_page_has_curves_and_samples_and_nothing_that_is_not_escaped() {
        let line = |update: u64| Line {
            update,
            loss: Some(1.0 / update as f64),
            norm: Some(f64::NAN),
            ..Line::default()
        };
        let lines: Vec<Line> = (1..=2000).map(line).collect();
        let tile = |update: u64| Tile {
            update,
            number: 0,
            prompt: "<script>".to_owned(),
            png: vec![1, 2, 3],
        };
        let tiles: Vec<Tile> = (0..10).map(tile).collect();
        let html = page(&head(true), &lines, &tiles);
        assert!(html.contains("align &lt;b&gt;") && html.contains("&lt;script&gt;"));
        assert!(!html.contains("<script>") && !html.contains("http-equiv"));
        assert_eq!(html.matches("<img ").count(), 6);
        assert!(html.contains("untrained") && html.contains("update 9"));
        // A curve without a finite point has no plot.
        assert_eq!(html.matches("<svg").count(), 1);
        assert!(html.len() < 60_000, "{}", html.len());
        assert!(page(&head(false), &[], &[]).contains("http-equiv"));
    }

    #[test]
    fn the_mean_moves_over_a_twentieth() {
        let points: Vec<[f64; 2]> = (0..40).map(|x| [f64::from(x), f64::from(x)]).collect();
        let smooth = smooth(&points);
        assert_eq!(smooth[0], [0.0, 0.0]);
        assert_eq!(smooth[10], [10.0, 9.5]);
    }
}
