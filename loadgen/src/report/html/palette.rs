//! The colours of the page, once: from here go the style sheet and the tests of contrast.
//!
//! Not here: what has which colour. Invariant: every role has a light and a dark value.

/// One role: its name as a CSS variable, its colour on the light page and on the dark one.
pub(super) struct Role {
    pub(super) name: &'static str,
    pub(super) light: &'static str,
    pub(super) dark: &'static str,
}

const fn role(name: &'static str, light: &'static str, dark: &'static str) -> Role {
    Role { name, light, dark }
}

/// Every role. Each transport also has a marker and a name, each state a word and a shape.
pub(super) const ROLES: [Role; 19] = [
    role("back", "#ffffff", "#12161b"),
    role("text", "#14181d", "#e8ebee"),
    role("muted", "#545d68", "#a3adb8"),
    role("ws", "#003f88", "#3d8bfd"),
    role("sse", "#bd5800", "#ffa94d"),
    role("longpoll", "#0a7f52", "#5ce0c6"),
    role("poll", "#7b1550", "#e0b3ff"),
    role("ok", "#0b6e4f", "#5cd6a4"),
    role("ok-tint", "#e8f5ef", "#12291f"),
    role("suspect", "#8a5300", "#f2b457"),
    role("suspect-tint", "#fdf3e1", "#2c2210"),
    role("failed", "#b3261e", "#ff8a80"),
    role("failed-tint", "#fdecea", "#341917"),
    role("link", "#0b5cad", "#7db7ff"),
    role("panel", "#f5f7f9", "#1a2027"),
    role("grid", "#e3e7eb", "#28303a"),
    role("axis", "#b4bcc5", "#56616d"),
    role("rule", "#d5dae0", "#323b46"),
    role("other", "#545d68", "#a3adb8"),
];

/// The roles as CSS variables; dark only on a screen, so that paper stays light.
pub(super) fn css() -> String {
    let list = |colour: fn(&Role) -> &'static str| {
        let each = ROLES.iter().map(|role| format!("--{}:{}", role.name, colour(role)));
        each.collect::<Vec<_>>().join(";")
    };
    format!(
        ":root{{color-scheme:light dark;{}}}\n\
         @media screen and (prefers-color-scheme:dark){{:root{{{}}}}}\n",
        list(|role| role.light),
        list(|role| role.dark),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rgb = [f64; 3];

    /// A colour in linear light.
    fn linear(hex: &str) -> Rgb {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        [channel(1), channel(3), channel(5)]
    }

    fn times(matrix: [Rgb; 3], colour: Rgb) -> Rgb {
        matrix.map(|row| row.iter().zip(colour).map(|(a, b)| a * b).sum())
    }

    fn contrast(one: &str, other: &str) -> f64 {
        let luminance = |hex| times([[0.212_6, 0.715_2, 0.072_2]; 3], linear(hex))[0];
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// CIE Lab under D65.
    fn lab(colour: Rgb) -> Rgb {
        let xyz = times(
            [
                [0.412_456, 0.357_576, 0.180_438],
                [0.212_673, 0.715_152, 0.072_175],
                [0.019_334, 0.119_192, 0.950_304],
            ],
            colour,
        );
        let curve = |value: f64| {
            if value > 0.008_856 { value.cbrt() } else { 7.787 * value + 16.0 / 116.0 }
        };
        let [x, y, z] = [xyz[0] / 0.950_47, xyz[1], xyz[2] / 1.088_83].map(curve);
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    /// How the eyes that lack one cone see, in linear light (Machado, Oliveira, Fernandes 2009,
    /// severity 1), and how all others do.
    const EYES: [(&str, [Rgb; 3]); 4] = [
        ("normal", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        (
            "protan",
            [
                [0.152_286, 1.052_583, -0.204_868],
                [0.114_503, 0.786_281, 0.099_216],
                [-0.003_882, -0.048_116, 1.051_998],
            ],
        ),
        (
            "deutan",
            [
                [0.367_322, 0.860_646, -0.227_968],
                [0.280_085, 0.672_501, 0.047_413],
                [-0.011_820, 0.042_940, 0.968_881],
            ],
        ),
        (
            "tritan",
            [
                [1.255_528, -0.076_749, -0.178_779],
                [-0.078_411, 0.930_809, 0.147_602],
                [0.004_733, 0.691_367, 0.303_900],
            ],
        ),
    ];

    fn role_named(name: &str) -> &'static Role {
        ROLES.iter().find(|role| role.name == name).unwrap()
    }

    #[test]
    fn everything_that_is_read_has_contrast() {
        for (front, back) in [
            ("text", "back"),
            ("text", "panel"),
            ("muted", "back"),
            ("muted", "panel"),
            ("ws", "back"),
            ("sse", "back"),
            ("longpoll", "back"),
            ("poll", "back"),
            ("link", "back"),
            ("ok", "back"),
            ("suspect", "back"),
            ("failed", "back"),
            ("ok", "ok-tint"),
            ("suspect", "suspect-tint"),
            ("failed", "failed-tint"),
            ("text", "ok-tint"),
            ("text", "suspect-tint"),
            ("text", "failed-tint"),
        ] {
            let (front, back) = (role_named(front), role_named(back));
            let light = contrast(front.light, back.light);
            let dark = contrast(front.dark, back.dark);
            let names = format!("{} on {}", front.name, back.name);
            assert!(light >= 4.5 && dark >= 4.5, "{names}: {light:.2}, {dark:.2}");
        }
        assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 0.01);
    }

    #[test]
    fn transports_stay_apart_for_every_eye() {
        let transports = ["ws", "sse", "longpoll", "poll"].map(role_named);
        for (eye, matrix) in EYES {
            let seen = |hex| lab(times(matrix, linear(hex)).map(|value| value.clamp(0.0, 1.0)));
            for (index, one) in transports.iter().enumerate() {
                for other in &transports[..index] {
                    let apart = |a, b| {
                        let (a, b) = (seen(a), seen(b));
                        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
                    };
                    let light = apart(one.light, other.light);
                    let dark = apart(one.dark, other.dark);
                    let names = format!("{eye}: {} and {}", one.name, other.name);
                    assert!(light >= 20.0 && dark >= 20.0, "{names}: {light:.1}, {dark:.1}");
                }
            }
        }
    }

    #[test]
    fn paper_is_light() {
        let css = css();
        assert!(css.contains("--ws:#003f88") && css.contains("--ws:#3d8bfd"));
        assert!(css.contains("@media screen and (prefers-color-scheme:dark)"));
    }
}
