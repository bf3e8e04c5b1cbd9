"""What a verification is made of.

packs         which are there whole, and what one that is not costs
locks         whether what must stay is locked as long as it must be
contents      what the points reach, opened and compared; `sampling` how much shows how much
findings      each object and problem once
"""
