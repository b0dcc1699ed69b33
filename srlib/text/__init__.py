"""What a text says, by its words: asks, numbers, sentences, languages, tags of thoughts."""
