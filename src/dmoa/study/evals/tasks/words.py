"""Common words, by their meaning, that questions about words and letters are made of."""

from __future__ import annotations

GROUPS: dict[str, tuple[str, ...]] = {
    "fruit": ("apple", "banana", "grape", "mango", "pear", "melon", "kiwi", "pineapple", "coconut"),
    "animal": ("cat", "dog", "horse", "rabbit", "tiger", "elephant", "monkey", "zebra", "goat"),
    "colour": ("red", "blue", "green", "yellow", "purple", "white", "black", "brown", "grey"),
    "tool": ("hammer", "saw", "drill", "wrench", "screwdriver", "chisel", "pliers", "shovel"),
    "furniture": ("chair", "table", "sofa", "bed", "desk", "wardrobe", "shelf", "bench"),
    "instrument": ("piano", "violin", "guitar", "flute", "trumpet", "drum", "cello", "harp"),
    "vehicle": ("car", "bus", "train", "bicycle", "truck", "tram", "boat", "aeroplane"),
    "clothing": ("shirt", "trousers", "coat", "hat", "sock", "scarf", "skirt", "jacket"),
    "body": ("arm", "leg", "nose", "ear", "knee", "elbow", "finger", "shoulder"),
    "country": ("France", "Japan", "Brazil", "Egypt", "Canada", "India", "Norway", "Kenya"),
    "profession": ("doctor", "teacher", "baker", "lawyer", "farmer", "nurse", "pilot", "judge"),
    "weather": ("rain", "snow", "wind", "fog", "hail", "thunder", "sunshine", "storm"),
}
"""Words that belong together; none could well stand in two groups, as a plum that is a colour."""

SHORT = ("sun", "map", "tip", "net", "pot", "lid", "gum", "bar", "fin", "tax", "web", "jam")
"""Three letters, and not the same backwards."""
MIDDLE = ("lamp", "fork", "wolf", "bird", "gold", "milk", "frog", "king", "star", "nest", "salt")
"""Four letters, and not the same backwards."""
LONG = (
    "garden",
    "window",
    "market",
    "bridge",
    "castle",
    "pencil",
    "silver",
    "winter",
    "planet",
    "basket",
    "candle",
    "forest",
    "island",
    "doctor",
    "kitchen",
    "library",
    "holiday",
)
"""Six and seven letters."""
LONGEST = (
    "chocolate",
    "adventure",
    "breakfast",
    "telephone",
    "landscape",
    "furniture",
    "important",
    "wonderful",
    "newspaper",
    "strawberry",
    "television",
    "university",
)
"""Nine and ten letters."""
REPEATING = (
    "mississippi",
    "banana",
    "committee",
    "strawberry",
    "possession",
    "assassin",
    "bookkeeper",
    "tennessee",
    "parallel",
    "millennium",
    "successfully",
    "referee",
    "pepper",
    "coffee",
    "balloon",
    "letter",
    "cocoa",
    "sleeplessness",
    "independence",
)
"""Words that have some letter more than once."""

PHRASES = (
    "the quick grey goose sleeps at noon",
    "three green trees keep their leaves",
    "a small cat sat on a tall black chair",
    "every evening seven people meet here",
    "our noble robot polishes good boots",
    "his thin fish is still in this dish",
    "a happy baker packs apple puddings",
    "most students sit still in class",
    "many animals ran away at dawn",
    "little yellow lilies fell slowly",
)
"""Sentences to count in."""

TITLES = (
    "Central Office of Dry Excuses",
    "North European Society for Tea",
    "Better Air Round Every City",
    "Friends of Old Red Koalas",
    "League of Independent Owls",
    "Home for Ageing Toy Soldiers",
    "Very Easy Language Oracle",
    "People Living Under Mountains",
    "Society for Every Useful Umbrella",
    "Young Authors of Running Novels",
)
"""Names to shorten to their first letters."""

OPPOSITES = {
    "hot": "cold",
    "up": "down",
    "wet": "dry",
    "empty": "full",
    "early": "late",
    "day": "night",
    "victory": "defeat|loss",
    "ancient": "modern|new|recent",
    "maximum": "minimum",
    "generous": "stingy|selfish|mean|greedy|miserly",
    "scarce": "abundant|plentiful|common",
    "transparent": "opaque",
}
"""Words, and what means the contrary."""
