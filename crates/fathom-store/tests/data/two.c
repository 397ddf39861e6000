static int one(int a) { return a + 1; }
int two(int a) { return one(a) + 1; }
