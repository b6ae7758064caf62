//! Reads every file of a folder as a pipeline file, says what was noticed, and
//! counts: `cargo run -p vmpool-pipeline --example check_folder -- FOLDER`.

use std::process::ExitCode;

use vmpool_pipeline::{Dialect, Variables, parse};

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: check_folder FOLDER");
        return ExitCode::from(2);
    };
    match check(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{folder}: {error}");
            ExitCode::from(2)
        }
    }
}

fn check(folder: &str) -> std::io::Result<()> {
    let mut files = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(std::fs::DirEntry::path);
    let (mut clean, mut warned, mut refused) = (0, 0, 0);
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file.path())?;
        match parse(&name, &text, Dialect::of(&name), &Variables::new()) {
            Ok(parsed) => {
                let noticed = &parsed.warnings;
                *if noticed.is_empty() {
                    &mut clean
                } else {
                    &mut warned
                } += 1;
                for warning in noticed {
                    println!("warning: {warning}");
                }
                for other in parsed.file.passed_over {
                    println!("passed over: {name}:{}: {other}", other.place);
                }
            }
            Err(rejected) => {
                refused += 1;
                println!("error: {}", rejected.to_string().replace('\n', "\nerror: "));
            }
        }
    }
    println!("{clean} clean, {warned} warned, {refused} refused");
    Ok(())
}
