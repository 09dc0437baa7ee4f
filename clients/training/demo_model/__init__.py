"""How the model that ships was made: its dialogues, its training, and the judge of its replies. Not installed."""
