"""What Latchkey knows and decides.

Start at `model.py` for the nouns and `road.py` for the way of a request; `runner.py` walks it, `policy.py` decides,
`actions/` holds one file per thing an operator may have done, `session.py` is the management session, `ports.py` says
what all of them need of the world, and `wiring.py` is the one place that knows every concrete class.
"""
