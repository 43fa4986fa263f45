//! The charts of the chapter: a bar for each collector and heap, as long as its ratio to the base.
//!
//! A tick stands at the worst cell, a thin line shows the spread, and the vertical line is the base. A bar
//! that misses its target is red. The numbers stand at the right, in a column of their own, where no bar
//! reaches.

use plotters::prelude::{
    BLACK, Color, DrawingArea, IntoDrawingArea, IntoFont, PathElement, RGBColor, Rectangle, SVGBackend, Text, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{IntoTextStyle, TextStyle};

use super::figures::{Row, Verdict};

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

const BLUE: RGBColor = RGBColor(0x3b, 0x82, 0xd6);
const RED: RGBColor = RGBColor(0xe0, 0x48, 0x3d);
const GREY: RGBColor = RGBColor(0x85, 0x8b, 0x94);

/// Pixels.
const WIDTH: u32 = 760;
const ROW: i32 = 22;
const BAR: i32 = 12;
const TOP: i32 = 34;
const BOTTOM: i32 = 30;
const RIGHT: i32 = 56;
const LETTER: i32 = 13;
/// The width of an average letter, in hundredths of its height: names are set in a font that is not known
/// here.
const LETTER_WIDTH: i32 = 54;

/// The chart of one figure as SVG; `None` if no row has a ratio.
pub fn draw(title: &str, rows: &[&Row]) -> Option<String> {
    let rows: Vec<&&Row> = rows.iter().filter(|row| row.value.is_some()).collect();
    if rows.is_empty() {
        return None;
    }
    let height = (TOP + BOTTOM + ROW * rows.len() as i32) as u32;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let drawn = bars(&area, title, &rows).and_then(|()| Ok(area.present()?));
        drawn.expect("a picture in memory can be drawn");
    }
    Some(svg)
}

fn bars(area: &Area, title: &str, rows: &[&&Row]) -> Drawn {
    area.fill(&WHITE)?;
    let style = |size: i32, horizontal: HPos| -> TextStyle<'static> {
        ("sans-serif", size).into_font().into_text_style(area).pos(Pos::new(horizontal, VPos::Center))
    };
    let name = |row: &Row| format!("{}, {}", row.what, row.place);
    let longest = rows.iter().map(|row| name(row).chars().count()).max().unwrap_or(0) as i32;
    let left = 16 + longest * LETTER * LETTER_WIDTH / 100;
    let right = WIDTH as i32 - RIGHT;
    let ratios = |row: &Row| [row.value, row.worst.as_ref().map(|worst| worst.0), row.spread.map(|spread| spread.1)];
    let most = rows.iter().flat_map(|row| ratios(row)).flatten();
    let most = most.fold(1.0f64, f64::max) * 1.04;
    let x = |ratio: f64| left + (ratio / most * f64::from(right - left)) as i32;
    let bottom = TOP + ROW * rows.len() as i32;

    area.draw(&Text::new(title.to_owned(), (8, TOP / 2 - 2), style(15, HPos::Left)))?;
    let step = step(most);
    for number in 0..=(most / step) as i32 {
        let ratio = f64::from(number) * step;
        let line = [(x(ratio), TOP), (x(ratio), bottom)];
        area.draw(&PathElement::new(line, GREY.mix(0.3)))?;
        area.draw(&Text::new(format!("{ratio:.1}"), (x(ratio), bottom + 12), style(LETTER - 1, HPos::Center)))?;
    }
    for (number, row) in rows.iter().enumerate() {
        let middle = TOP + ROW * number as i32 + ROW / 2;
        let Some(value) = row.value else { continue };
        let colour = if row.verdict == Verdict::Missed { RED } else { BLUE };
        let bar = [(x(0.0), middle - BAR / 2), (x(value), middle + BAR / 2)];
        area.draw(&Rectangle::new(bar, colour.mix(0.75).filled()))?;
        if let Some((least, greatest)) = row.spread {
            area.draw(&PathElement::new([(x(least), middle), (x(greatest), middle)], BLACK.stroke_width(1)))?;
        }
        if let Some((worst, _)) = row.worst {
            let tick = [(x(worst), middle - BAR / 2), (x(worst), middle + BAR / 2)];
            area.draw(&PathElement::new(tick, BLACK.stroke_width(2)))?;
        }
        area.draw(&Text::new(name(row), (left - 8, middle), style(LETTER, HPos::Right)))?;
        area.draw(&Text::new(format!("{value:.2}"), (WIDTH as i32 - 8, middle), style(LETTER, HPos::Right)))?;
    }
    area.draw(&PathElement::new([(x(1.0), TOP), (x(1.0), bottom)], BLACK.stroke_width(1)))?;
    Ok(())
}

/// Between the numbers of the axis.
fn step(most: f64) -> f64 {
    [0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0].into_iter().find(|step| most / step <= 8.0).unwrap_or(200.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: &str, value: Option<f64>, verdict: Verdict) -> Row {
        Row {
            what: what.to_owned(),
            figure: "total CPU",
            place: "2x".to_owned(),
            value,
            spread: Some((0.4, 0.6)),
            worst: Some((1.2, "splay".to_owned())),
            cells: (2, 2),
            target: String::new(),
            verdict,
            is_ratio: true,
            note: String::new(),
        }
    }

    #[test]
    fn a_row_that_misses_is_red_and_one_without_a_ratio_is_not_drawn() {
        let (met, missed) = (row("Immix / a", Some(0.5), Verdict::Met), row("Other / a", Some(1.1), Verdict::Missed));
        let none = row("None / a", None, Verdict::NotMeasured);
        let svg = draw("Total CPU", &[&met, &missed, &none]).unwrap();
        assert!(svg.contains("Immix / a, 2x") && svg.contains("0.50") && !svg.contains("None / a"), "{svg}");
        assert_eq!((svg.matches("#3B82D6").count(), svg.matches("#E0483D").count()), (1, 1), "{svg}");
        assert_eq!(draw("Total CPU", &[&none]), None);
    }

    #[test]
    fn the_axis_has_few_numbers() {
        for most in [1.0, 1.3, 3.0, 7.0, 30.0, 1000.0] {
            assert!((2.0..=8.0).contains(&(most / step(most))), "{most}");
        }
    }
}
