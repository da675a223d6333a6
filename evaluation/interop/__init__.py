"""Other libraries' forecasts judged here, and our layers behind other libraries' doors: an example of each."""
