"""Facts that many know and time does not change, from easy to rare."""

from __future__ import annotations

from dmoa.study.evals.records import Metric
from dmoa.study.evals.tasks.dice import Dice
from dmoa.study.evals.tasks.question import NUMBER_ONLY, Question

_CAPITALS = {
    "France": "Paris",
    "Japan": "Tokyo",
    "Italy": "Rome",
    "Egypt": "Cairo",
    "Canada": "Ottawa",
    "Australia": "Canberra",
    "Norway": "Oslo",
    "Portugal": "Lisbon",
    "Peru": "Lima",
    "Kenya": "Nairobi",
    "New Zealand": "Wellington",
    "Mongolia": "Ulaanbaatar|Ulan Bator",
    "Slovenia": "Ljubljana",
    "Iceland": "Reykjavik",
    "Senegal": "Dakar",
    "Uruguay": "Montevideo",
    "Bulgaria": "Sofia",
    "Bangladesh": "Dhaka|Dacca",
    "Paraguay": "Asunción",
    "Burkina Faso": "Ouagadougou",
}
_SYMBOLS = {
    "oxygen": "O",
    "iron": "Fe",
    "gold": "Au",
    "sodium": "Na",
    "potassium": "K",
    "silver": "Ag",
    "lead": "Pb",
    "helium": "He",
    "copper": "Cu",
    "tin": "Sn",
    "tungsten": "W",
    "mercury": "Hg",
}
_ELEMENTS = {
    "C": "carbon",
    "Zn": "zinc",
    "Ca": "calcium",
    "Mg": "magnesium",
    "Pt": "platinum",
    "Sb": "antimony",
}
_AUTHORS = {
    "the play 'Romeo and Juliet'": "Shakespeare",
    "the novel 'Pride and Prejudice'": "Austen",
    "the novel 'War and Peace'": "Tolstoy|Tolstoi",
    "the novel 'Don Quixote'": "Cervantes",
    "the novel 'Moby-Dick'": "Melville",
    "the novel 'Nineteen Eighty-Four'": "Orwell|Eric Arthur Blair",
    "the novel 'Frankenstein'": "Shelley",
    "the novel 'Crime and Punishment'": "Dostoevsky|Dostoyevsky|Dostoevskij|Dostojewski",
    "the play 'A Doll's House'": "Ibsen",
    "the novella 'The Metamorphosis', in which a man wakes up as an insect": "Kafka",
    "the epic poem 'Paradise Lost'": "Milton",
    "the novel 'Middlemarch'": "George Eliot|Mary Ann Evans",
}
_NUMBERS = {
    "How many days are there in a week?": 7,
    "How many minutes are there in two hours?": 120,
    "How many legs does a spider have?": 8,
    "How many sides does a hexagon have?": 6,
    "How many letters does the English alphabet have?": 26,
    "How many strings does a standard violin have?": 4,
    "How many degrees are there in a right angle?": 90,
    "How many millimetres are there in 3 metres?": 3000,
    "How many seconds are there in one hour?": 3600,
    "How many squares does a chessboard have?": 64,
    "How many players of one team are on the field in a game of football (soccer)?": 11,
    "How many keys does a standard modern piano have?": 88,
    "How many chromosomes does a healthy human body cell have?": 46,
    "How many faces does an icosahedron have?": 20,
    "How many bits are there in four bytes?": 32,
    "What is the atomic number of carbon?": 6,
    "What is the atomic number of iron?": 26,
    "In which year did the Second World War end?": 1945,
    "In which year did the first human walk on the Moon?": 1969,
    "In which year did the Berlin Wall fall?": 1989,
    "In which year was the Battle of Hastings fought?": 1066,
    "In which year did the French Revolution begin?": 1789,
    "In which year was the Peace of Westphalia made?": 1648,
    "How many plays of Shakespeare does the First Folio hold?": 36,
}
_OTHERS = {
    "Which planet is closest to the Sun?": "Mercury",
    "Which planet is the largest of the Solar System?": "Jupiter",
    "Which planet comes next after Saturn, counted from the Sun?": "Uranus",
    "Which planet has Phobos and Deimos as its moons?": "Mars",
    "Which moon is the largest of the Solar System?": "Ganymede",
    "Which gas do plants take up from the air for photosynthesis?": "carbon dioxide|CO2|CO₂",
    "Which gas makes up most of the air?": "nitrogen|N2|N₂",
    "What is the hardest natural mineral?": "diamond|diamonds",
    "Which metal is liquid at room temperature and used in old thermometers?": "mercury",
    "Which organ pumps blood through the body?": "heart",
    "Which organ of the body makes insulin?": "pancreas",
    "What is the longest bone of the human body?": "femur|thigh bone|thighbone",
    "Which ocean is the largest?": "Pacific",
    "Which desert covers much of northern Africa?": "Sahara",
    "Which mountain is the highest above sea level?": "Everest|Chomolungma|Sagarmatha",
    "Which strait separates Spain from Morocco?": "Gibraltar",
    "Which continent is the smallest?": "Australia|Oceania",
    "Which river flows through Vienna, Budapest and Belgrade?": "Danube|Donau",
    "Which lake is the deepest of the world?": "Baikal|Bajkal",
    "Who painted the Mona Lisa?": "Leonardo|da Vinci",
    "Who painted 'The Starry Night'?": "van Gogh",
    "Who painted the ceiling of the Sistine Chapel?": "Michelangelo",
    "Who composed the opera 'The Magic Flute'?": "Mozart",
    "Who composed the 'Goldberg Variations'?": "Bach",
    "Who put forward the theory of general relativity?": "Einstein",
    "Who discovered penicillin?": "Fleming",
    "Which physicist first proposed that energy is emitted in quanta, in 1900?": "Planck",
    "Which mathematician proved the incompleteness theorems?": "Gödel|Goedel",
    "What is the unit of electrical resistance?": "ohm|ohms",
    "What is the SI unit of force?": "newton|newtons",
    "What is the SI unit of magnetic flux density?": "tesla|teslas",
    "What is the currency of Japan?": "yen",
    "What is the currency of Switzerland?": "franc|francs",
    "What is the currency of Poland?": "zloty|złoty|zlotys",
    "Which language is spoken by most people in Brazil?": "Portuguese",
    "What is a baby frog called?": "tadpole|tadpoles",
    "Which animal is the largest that has ever lived?": "blue whale|blue whales",
    "What do bees make from nectar?": "honey",
    "What is frozen water called?": "ice",
    "What colour do blue and yellow paint give when mixed?": "green",
    "Which instrument do doctors use to listen to the heart?": "stethoscope",
    "Which shape has three sides?": "triangle",
    "What is the study of earthquakes called?": "seismology",
    "Which process turns a liquid into a gas at its surface?": "evaporation|vaporisation",
}


def make(number: int, dice: Dice) -> Question:
    """Make question `number` (from 0), all of which are written above; no dice are needed."""
    del dice
    return _ALL[number]


def _spellings(written: str) -> tuple[str, ...]:
    return tuple(written.split("|"))


def _mixed() -> tuple[Question, ...]:
    """Put the tables together, in an order that has all of them everywhere."""
    found: list[Question] = []

    def add(text: str, how: str, written: str, metric: Metric) -> None:
        found.append(Question(f"{text} {how}", _spellings(written), metric))

    for country, capital in _CAPITALS.items():
        add(f"What is the capital of {country}?", "Answer with its name only.", capital, "contains")
    for element, symbol in _SYMBOLS.items():
        text = f"What is the chemical symbol of {element}?"
        add(text, "Answer with the symbol only.", symbol, "exact")
    for symbol, element in _ELEMENTS.items():
        text = f"Which chemical element has the symbol {symbol}?"
        add(text, "Answer with its name only.", element, "contains")
    for work, author in _AUTHORS.items():
        add(f"Who wrote {work}?", "Answer with the name only.", author, "contains")
    for text, number in _NUMBERS.items():
        add(text, NUMBER_ONLY, str(number), "numeric")
    for text, answer in _OTHERS.items():
        add(text, "Answer with a word or two only.", answer, "contains")
    return tuple(Dice("the order of the facts").shuffled(found))


_ALL = _mixed()
COUNT = len(_ALL)
"""How many facts there are."""
