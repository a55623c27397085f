//! Results as Markdown for people and JSON for programs.

use std::fmt::Write as _;

use crate::compare::round::Arm;
use crate::compare::scenario::Scenario;
use crate::statistics::Summary;

/// What one arm did in one scenario.
#[derive(Clone, Debug)]
pub struct Row {
    /// The arm.
    pub name: String,
    /// CPU time per request, in nanoseconds.
    pub cost_ns: Summary,
    /// Responses per second: on two cores this often measures the generator, so it is no headline.
    pub per_second: f64,
    /// Cost relative to each reference of the scenario: the median over rounds of the ratio within a round.
    pub ratios: Vec<Option<f64>>,
}

/// Makes the rows of a scenario from its arms after the last round.
#[must_use]
pub fn rows(arms: &[Arm], references: &[&str]) -> Vec<Row> {
    let ratio = |arm: &Arm, reference: &str| {
        let reference = arms.iter().find(|arm| arm.name == reference)?;
        let pairs = arm.cost_ns.iter().zip(&reference.cost_ns);
        Some(Summary::of(&pairs.map(|(cost, base)| cost / base).collect::<Vec<_>>())?.median)
    };
    let row = |arm: &Arm| {
        let ratios = references.iter().map(|reference| ratio(arm, reference)).collect();
        let per_second = arm.answered as f64 / arm.seconds;
        Some(Row { name: arm.name.clone(), cost_ns: Summary::of(&arm.cost_ns)?, per_second, ratios })
    };
    arms.iter().filter_map(row).collect()
}

/// The table of a scenario.
#[must_use]
pub fn markdown(scenario: &Scenario, references: &[&str], rows: &[Row]) -> String {
    let mut text = format!("### {} (`{}`)\n\n", scenario.title, scenario.name);
    text.push_str("| server | CPU ns/request, median | minimum | spread |");
    references.iter().for_each(|reference| _ = write!(text, " ÷ {reference} |"));
    text.push_str(" requests/s |\n|---|---:|---:|---:|");
    references.iter().for_each(|_| text.push_str("---:|"));
    text.push_str("---:|\n");
    for row in rows {
        let Summary { median, minimum, spread, .. } = row.cost_ns;
        let _ = write!(text, "| {} | {median:.0} | {minimum:.0} | {:.1} % |", row.name, spread * 100.0);
        for ratio in &row.ratios {
            let ratio = ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
            let _ = write!(text, " {ratio} |");
        }
        let _ = writeln!(text, " {:.0} |", row.per_second);
    }
    text
}

/// The same as one JSON object per row, one per line. Names contain nothing that JSON would have to escape.
#[must_use]
pub fn json_lines(scenario: &Scenario, references: &[&str], rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let Summary { median, minimum, maximum, spread, .. } = row.cost_ns;
        let _ = write!(
            text,
            "{{\"scenario\":\"{}\",\"server\":\"{}\",\"cpu_ns_median\":{median:.1},\"cpu_ns_minimum\":{minimum:.1},\
             \"cpu_ns_maximum\":{maximum:.1},\"spread\":{spread:.4},\"per_second\":{:.0}",
            scenario.name, row.name, row.per_second
        );
        for (reference, ratio) in references.iter().zip(&row.ratios) {
            if let Some(ratio) = ratio {
                let _ = write!(text, ",\"ratio_to_{reference}\":{ratio:.4}");
            }
        }
        text.push_str("}\n");
    }
    text
}
