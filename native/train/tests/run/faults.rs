//! What is wrong with a sample or a setting costs as little as it can.

use super::*;

fn log(place: &Place, run: &str) -> String {
    String::from_utf8(read(place.path(run).join("log.jsonl"))).unwrap()
}

#[test]
fn a_folder_in_which_nothing_was_made_begins_with_other_settings() {
    let place = Place::new();
    let failed = "width = 32\nheight = 32\nlearning-rate = 1e30\nwarmup = 0\nnan-limit = 0\n";
    place.run_lora("run", failed, usize::MAX).unwrap_err();
    assert!(place.path("run/config.toml").exists());
    fs::remove_dir_all(place.path("run/checkpoints")).unwrap();
    place
        .run_lora("run", "width = 32\nheight = 32\nrank = 2\n", usize::MAX)
        .unwrap();
    let error = place.run_lora("run", "width = 32\nheight = 32\nrank = 3\n", 1);
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("`rank` 2, now it is 3")
    );
}

#[test]
fn a_caption_of_ten_thousand_words_is_read_as_far_as_encoders_read() {
    let place = Place::new();
    fs::write(place.path("pictures/0.txt"), "a red apple ".repeat(3334)).unwrap();
    let device = Device::flex();
    let settings = place.lora_settings(&place.path("pictures"), "run", "width = 32\nheight = 32\n");
    let settings = settings.unwrap();
    let model = Model::open(settings.model.as_deref().unwrap_or_default()).unwrap();
    let mut warned = vec![];
    let subject = Lora::open(&settings, &model, &device, [1, 0], &mut |line| {
        warned.push(line)
    });
    let (ended, losses) =
        drive(&settings, What::Lora, subject.unwrap(), device, usize::MAX).unwrap();
    assert!(ended && losses.len() == 6);
    assert!(
        warned.iter().any(|line| line.contains("10002 words")),
        "{warned:?}"
    );
}

#[test]
fn a_run_whose_last_updates_were_left_out_does_not_end_well() {
    let place = Place::new();
    let more = "width = 32\nheight = 32\nschedule = 'constant'\nlearning-rate = 1e30\nwarmup = 0\n";
    let error = place
        .run_lora("run", more, usize::MAX)
        .unwrap_err()
        .to_string();
    assert!(error.contains("numbers that are not finite"), "{error}");
    assert!(log(&place, "run").contains("left out"));
}

#[test]
fn counts_have_limits() {
    let place = Place::new();
    for (line, key) in [
        (
            "batch = 9223372036854775807",
            "`batch` is 9223372036854775807; at most 65536 can be",
        ),
        ("rank = 5000", "`rank` is 5000"),
        ("accumulation = 100000", "`accumulation` is 100000"),
        ("sample-steps = 100000", "`sample-steps` is 100000"),
        ("width = 100000000", "`width` is 100000000"),
    ] {
        let error = place.run_lora("x", line, 1).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
    for title in ["''", "'..'", "\"a\\u0007\"", "'a/b'"] {
        let error = place
            .run_lora("x", &format!("title = {title}"), 1)
            .unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}
