// Blocks that take walks in turns: no more than run at once.
static int64_t resident(int64_t walks) { return walks < processors ? walks : processors; }
