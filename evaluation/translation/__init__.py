"""German to English: does an encoder-decoder under one mask per sentence know which translations are bad?"""
