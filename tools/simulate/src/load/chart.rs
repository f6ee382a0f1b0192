//! Lines over time as SVG that stands in a page.
//!
//! Colours are placeholders here; the page's style sheet gives them their meaning in light and
//! dark. Legends are the page's too: a chart does not know how wide its letters are.

use anyhow::anyhow;
use plotters::{
    chart::ChartBuilder,
    prelude::{Circle, IntoDrawingArea as _, PathElement, SVGBackend},
    series::LineSeries,
    style::{Color as _, IntoFont as _, RGBColor, TextStyle},
};

const SIZE: (u32, u32) = (880, 260);
/// Letters and axes, the grid, and the marks of phases.
const INK: RGBColor = RGBColor(0, 0, 1);
const GRID: RGBColor = RGBColor(0, 0, 2);
const MARK: RGBColor = RGBColor(0, 0, 3);

/// A line.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// What it is called in the legend.
    pub(super) name: String,
    /// Seconds and values; a gap where there is no value.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

impl Line {
    fn highest(&self) -> f64 {
        self.points.iter().filter_map(|(_, value)| *value).fold(0.0, f64::max)
    }

    /// The parts between gaps.
    fn parts(&self) -> impl Iterator<Item = Vec<(f64, f64)>> {
        self.points
            .split(|(_, value)| value.is_none())
            .map(|part| part.iter().filter_map(|(at, value)| Some((*at, (*value)?))).collect())
            .filter(|part: &Vec<_>| !part.is_empty())
    }
}

/// A chart of lines over the same time.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    pub(super) lines: Vec<Line>,
    /// Seconds at which a phase of the load ends.
    pub(super) marks: Vec<f64>,
    /// How long it all took, in seconds.
    pub(super) length: f64,
    /// Powers of ten instead of even steps.
    pub(super) logarithmic: bool,
}

impl Chart {
    /// The picture.
    pub(super) fn svg(&self) -> anyhow::Result<String> {
        let mut svg = String::new();
        self.draw(&mut svg).map_err(|error| anyhow!("a chart cannot be drawn: {error}"))?;
        // Inside a page the name of its format is not needed, and nothing is to be loaded by any
        // address.
        let svg = svg.replace(" xmlns=\"http://www.w3.org/2000/svg\"", "");
        Ok(svg.replacen(
            &format!("<svg width=\"{}\" height=\"{}\"", SIZE.0, SIZE.1),
            "<svg role=\"img\"",
            1,
        ))
    }

    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let highest = self.lines.iter().map(Line::highest).fold(0.0, f64::max);
        let (floor, ceiling) = if self.logarithmic {
            (0.0, highest.max(10.0).log10().ceil())
        } else {
            (0.0, if highest > 0.0 { highest * 1.08 } else { 1.0 })
        };
        let scale = |value: f64| {
            if self.logarithmic { value.max(1.0).log10() } else { value }
        };
        let mut chart = ChartBuilder::on(&area)
            .margin_top(12)
            .margin_right(16)
            .x_label_area_size(30)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..self.length.max(1.0), floor..ceiling)?;
        let letters = TextStyle::from(("sans-serif", 15).into_font()).color(&INK);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(RGBColor(0, 0, 2).mix(0.0))
            .bold_line_style(GRID)
            .axis_style(GRID)
            .label_style(letters)
            .x_labels(12)
            .y_labels(if self.logarithmic { ceiling as usize + 1 } else { 6 })
            .x_label_formatter(&|at| format!("{at:.0} s"))
            .y_label_formatter(&|value| {
                let value = if self.logarithmic { 10_f64.powf(*value) } else { *value };
                number(value, ceiling)
            })
            .draw()?;
        for mark in &self.marks {
            let ends = vec![(*mark, floor), (*mark, ceiling)];
            chart.draw_series([PathElement::new(ends, MARK.stroke_width(1))])?;
        }
        for (index, line) in self.lines.iter().enumerate() {
            let colour = RGBColor(0, 1, u8::try_from(index).unwrap_or(u8::MAX));
            for part in line.parts() {
                let points = part.into_iter().map(|(at, value)| (at, scale(value)));
                if points.len() == 1 {
                    // A line needs two.
                    let dots = points.map(|point| Circle::new(point, 2, colour.filled()));
                    chart.draw_series(dots)?;
                    continue;
                }
                chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
            }
        }
        drop(chart);
        area.present()?;
        drop(area);
        Ok(())
    }
}

fn number(value: f64, ceiling: f64) -> String {
    let digits = if ceiling < 5.0 && value.fract() != 0.0 { 1 } else { 0 };
    let text = format!("{value:.digits$}");
    // Thousands apart.
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), None), |(w, r)| (w, Some(r)));
    let mut apart = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            apart.push('\u{202f}');
        }
        apart.push(digit);
    }
    rest.map_or(apart.clone(), |rest| format!("{apart}.{rest}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_chart_loads_nothing_and_a_gap_in_its_values_is_a_gap_in_its_line() {
        let points = vec![
            (0.0, Some(1.0)),
            (1.0, Some(2.0)),
            (2.0, None),
            (3.0, Some(40.0)),
            (4.0, Some(4.0)),
            (5.0, None),
            (6.0, Some(9.0)),
        ];
        for logarithmic in [false, true] {
            let line = Line { name: "p99".to_owned(), points: points.clone() };
            let chart = Chart { lines: vec![line], marks: vec![2.0], length: 6.0, logarithmic };
            let svg = chart.svg().unwrap();
            assert!(!svg.contains("http"), "{svg}");
            assert_eq!(svg.matches("stroke=\"#000100\"").count(), 2, "{svg}");
            assert_eq!(svg.matches("fill=\"#000100\"").count(), 1, "{svg}");
        }
    }

    #[test]
    fn a_chart_without_values_is_an_empty_one() {
        let chart = Chart { lines: Vec::new(), marks: Vec::new(), length: 0.0, logarithmic: true };
        assert!(chart.svg().unwrap().starts_with("<svg"));
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(number(1_234_567.0, 2e6), "1\u{202f}234\u{202f}567");
        assert_eq!((number(0.5, 1.0), number(100.0, 2.0)), ("0.5".to_owned(), "100".to_owned()));
    }
}
