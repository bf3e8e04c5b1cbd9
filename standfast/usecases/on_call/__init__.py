"""People on call: the rota, and pages until somebody acknowledges."""
