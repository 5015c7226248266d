//! Names of known products in other scripts.

/// Names of known products where another script is written, or another word for them is usual: by sound, as the maker
/// or its users there write them. Sounds that are everyday words there (`カーソル`, `Курсор`: cursor) or another maker's
/// name (`グロック`: Glock) are left out.
const TRANSLITERATIONS: &[(&str, &[&str])] = &[
    (
        "Claude",
        &[
            "クロード",
            "クロードコード",
            "アンソロピック",
            "클로드",
            "클로드 코드",
            "앤트로픽",
            "앤스로픽",
            "克劳德",
            "克勞德",
            "Клод",
            "Клод Код",
            "Клауде",
            "Антропик",
            "Антропік",
            "كلود",
            "كلاود",
            "أنثروبيك",
            "קלוד",
            "אנתרופיק",
            "क्लॉड",
            "क्लाउड ए आई",
            "एंथ्रोपिक",
            "Κλοντ",
        ],
    ),
    (
        "ChatGPT",
        &[
            "チャットGPT",
            "チャットジーピーティー",
            "オープンAI",
            "챗GPT",
            "챗지피티",
            "오픈AI",
            "오픈에이아이",
            "ЧатГПТ",
            "ЧатДжиПиТи",
            "Чат GPT",
            "ОпенАИ",
            "شات جي بي تي",
            "تشات جي بي تي",
            "أوبن إيه آي",
            "צ'אט GPT",
            "צ'אט ג'י פי טי",
            "चैटजीपीटी",
            "चैट जीपीटी",
            "ओपनएआई",
        ],
    ),
    ("GitHub Copilot", &["ギットハブ", "깃허브", "깃헙", "Гитхаб", "ГитХаб Копилот", "גיטהאב", "جيت هاب", "गिटहब"]),
    (
        "Microsoft Copilot",
        &["マイクロソフト", "마이크로소프트", "微软", "微軟", "Майкрософт", "مايكروسوفت", "מיקרוסופט", "माइक्रोसॉफ्ट"],
    ),
    (
        "Google Gemini",
        &["谷歌Gemini", "グーグルジェミニ", "구글 제미나이", "Гугл Джемини", "جوجل جيميني", "גוגל ג'מיני", "गूगल जेमिनी"],
    ),
    ("Grok", &["그록", "Грок"]),
    ("Mistral AI", &["ミストラルAI", "미스트랄 AI", "Мистраль ИИ"]),
    ("Perplexity", &["パープレキシティ", "퍼플렉시티", "Перплексити", "بيربلكسيتي", "פרפלקסיטי"]),
    ("Visual Studio Code", &["ビジュアルスタジオコード", "비주얼 스튜디오 코드", "Вижуал Студио Код"]),
    ("JetBrains", &["ジェットブレインズ", "젯브레인즈", "ДжетБрейнс"]),
    ("Slack", &["スラック", "슬랙", "Слэк"]),
];

/// Returns the names in other scripts of the product that the table calls `name`.
pub(crate) fn of(name: &str) -> &'static [&'static str] {
    TRANSLITERATIONS.iter().find(|(known, _)| *known == name).map_or(&[], |(_, names)| names)
}
