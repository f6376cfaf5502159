"""Load tests: queries sent to live nodes on time, whatever becomes of them, and what came of it.

`schedule` says what is asked when and where, `live` speaks with the nodes, `generator` sends,
`records` keeps what happened, `measured` sums it up, `beside` asks the theory, the planner
and a world about the same, `picture` draws it.
"""
