"""Notices: what people are told, in which words, and who they are.

Owns the templates' grammar, the two stages of rendering, the audiences and the channels. Leaves to
others when a notice is sent, who approved it, and where its recipients' states are kept.

`folder` reads templates from disk, `render` turns them into a `Prepared` notice, `prepared` fills
it for one person, `audience` says who the people are, and `senders/` hands messages over.
`readability` and `banned` say which words are not fit to be sent.
"""
