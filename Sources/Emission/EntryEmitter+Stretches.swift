import TileIR

/// What an entry has for walks in stretches (`Stretch`): whose turn it is, and where their scratch memory lies.
extension EntryEmitter {
  /// What phases need of them: stands with the workspace.
  func stretchText(_ out: inout CWriter) {
    out.line()
    out.line("// Walks, each of one worker.")
    out.block("static int64_t walks_of(const arguments *args)") {
      $0.line("return \(workers(of: program.phases[0]));")
    }
    out.lines([
      "",
      "// How many of them, the last ones, go in stretches: threads would wait for each other at their",
      "// end. Each has scratch memory of its own, behind the threads', which long sequences outweigh.",
    ])
    out.block("static int64_t shared_walks_of(const arguments *args)") {
      $0.lines([
        "const int64_t walks = walks_of(args), threads = threads_of(args);",
        "const int64_t rows = args->cu_seqlens ? args->sequences : 1;",
        "if (threads == 1 || walks <= threads || args->length / rows < \(Stretch.sequence)) return 0;",
        "return sl_least(walks, \(Stretch.walks) * threads);",
      ])
    }
    out.lines([
      "",
      "// A walk that goes in stretches: chunks that are done, all chunks, and who has it or had it last.",
      "typedef struct {",
      "  int64_t done, chunks, thread, is_taken;",
      "} shared_walk;",
      "",
      "// A stretch: of which walk (none: -1), and its chunks.",
      "typedef struct {",
      "  int64_t walk, from, to;",
      "} stretch;",
    ])
  }

  /// Pauses of a thread that waits awake: of 20 to 60 ns each.
  private static let turnsAwake = 4096

  /// The bytes of a call's workspace, beside states between segments.
  var scratchSize: String {
    sharesWalks
      ? "threads_of(args) * scratch_bytes\n"
        + "      + shared_walks_of(args) * (int64_t)(scratch_bytes + sizeof(shared_walk))"
      : "threads_of(args) * scratch_bytes"
  }

  /// Who walks what: stands before the team.
  func dealText(_ out: inout CWriter) {
    let least = max(1, Stretch.tokens / program.chunk)
    out.line("#ifdef _OPENMP")
    out.block("static shared_walk *shared_walks(const arguments *args)") {
      $0.lines([
        "const int64_t scratches = threads_of(args) + shared_walks_of(args);",
        "return (shared_walk *)((char *)args->workspace + scratches * scratch_bytes);",
      ])
    }
    out.lines(["", "// Nobody has begun: called before the team is there."])
    out.block("static void begin_shared_walks(const arguments *args)") {
      $0.lines([
        "const int64_t count = shared_walks_of(args), all = walks_of(args);",
        "for (int64_t n = 0; n < count; ++n) {",
        "  const int64_t sequence = (all - count + n) / (all / sequences_of(args));",
        "  const int64_t *const ends = args->cu_seqlens ? args->cu_seqlens + sequence : NULL;",
        "  const int64_t length = ends ? ends[1] - ends[0] : args->length;",
        "  // An empty sequence has a stretch as well: its state goes from one end to the other.",
        "  const int64_t chunks = sl_greatest(1, (length + \(program.chunk - 1)) / \(program.chunk));",
        "  shared_walks(args)[n] = (shared_walk){0, chunks, -1, 0};",
        "}",
      ])
    }
    out.lines([
      "",
      "// Takes back the stretch that a thread has walked, and deals it the next: half of what is left of the",
      "// walk that has most left and that no one has; of equal ones that which its caches may hold.",
    ])
    out.block(
      "static stretch next_stretch(const arguments *args, int64_t thread, stretch walked)"
    ) {
      $0.lines([
        "shared_walk *const walks = shared_walks(args);",
        "const int64_t count = shared_walks_of(args);",
        "stretch next = {-1, 0, 0};",
        "#pragma omp critical(sluice_stretches)",
        "{",
        "  if (walked.walk >= 0) {",
        "    walks[walked.walk].done = walked.to;",
        "    walks[walked.walk].is_taken = 0;",
        "  }",
        "  int64_t most = 1;",
        "  for (int64_t n = 0; n < count; ++n) {",
        "    const int64_t left = walks[n].is_taken ? 0 : walks[n].chunks - walks[n].done;",
        "    const int64_t rank = 2 * left + (walks[n].thread == thread);",
        "    if (rank <= most) continue;",
        "    most = rank;",
        "    const int64_t own = sl_least(left, sl_greatest(\(least), (left + 1) / 2));",
        "    next = (stretch){n, walks[n].done, walks[n].done + own};",
        "  }",
        "  if (next.walk >= 0) {",
        "    walks[next.walk].thread = thread;",
        "    walks[next.walk].is_taken = 1;",
        "  }",
        "}",
        "return next;",
      ])
    }
    out.lines([
      "",
      "// A thread has walked all it was dealt. The one that called waits awake for the others' last",
      "// stretches, some hundred microseconds at most: put to sleep at the team's end it would be woken",
      "// by the operating system, which takes as long.",
    ])
    out.block("static void await_team(int64_t *done)") {
      $0.lines([
        "if (omp_get_thread_num()) {",
        "  __atomic_fetch_add(done, 1, __ATOMIC_RELEASE);",
        "  return;",
        "}",
        "const int64_t others = omp_get_num_threads() - 1;",
        "for (int turn = 0; turn < \(Self.turnsAwake); ++turn) {",
        "  if (__atomic_load_n(done, __ATOMIC_ACQUIRE) == others) return;",
        "  sl_pause();",
        "}",
      ])
    }
    out.lines(["#endif", ""])
  }

  /// What a thread of the team does: whole walks as they come, then stretches.
  func teamLines(_ phase: TileProgram.Phase) -> [String] {
    [
      "const int64_t whole = \(phase.name)_items - shared_walks_of(args);",
      "#pragma omp for schedule(dynamic, 1) nowait",
      "for (int64_t item = 0; item < whole; ++item) \(phase.name)(args, item, 0, INT64_MAX, scratch);",
      "stretch own = {-1, 0, 0};",
      "while ((own = next_stretch(args, thread, own)).walk >= 0) {",
      "  char *const kept = (char *)args->workspace + (threads_of(args) + own.walk) * scratch_bytes;",
    ]
      + (clearsScratch ? ["  if (own.from == 0) memset(kept, 0, scratch_bytes);"] : []) + [
        "  \(phase.name)(args, whole + own.walk, own.from, own.to, kept);",
        "}",
      ]
  }
}
