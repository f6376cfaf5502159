"""Does the mixture pay? Items asked of live nodes, judged, and compared with the best member.

A run is a folder (`folder.Folder`): `items.jsonl`, what is asked; `answers.jsonl`, what came,
a line each; `judgements.jsonl`, what judges said; `outputs/`, the answers in the form of
AlpacaEval. Every step reads it and adds to it, and any of them can be killed and gone on with.
"""
