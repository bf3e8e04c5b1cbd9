"""People on call: the rota, and pages until somebody acknowledges.

The rota is the plan of the people on duty. A page is a message that asks one person to act.
"""
