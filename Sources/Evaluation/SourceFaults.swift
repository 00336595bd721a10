import Emission
import Schedules

extension PlantedFault {
  /// Faults in the emitted text: what a careless change to the emitter or the templates makes.
  static let sourceFaults: [PlantedFault] = [
    // Places.
    source(
      "an offset in 32 bits", "args->initial_state + (sequence * heads + head) * #",
      "args->initial_state + (int32_t)((uint32_t)(sequence * heads + head) * $1u)"
    ).with { $0.needsFarOffsets = true },
    source("a swapped head", "+ head * k_head", "+ (heads - 1 - head) * k_head"),
    source("query heads of another group", "head * group * q_head", "head * q_head"),
    source(
      "outputs of a group in reverse", "+ g * o_head", "+ (group - 1 - g) * o_head"),
    source(
      "cu_seqlens ignored", "args->cu_seqlens ? args->cu_seqlens[sequence] : 0", "0"),
    source(
      "the initial state of another sequence",
      "args->initial_state + (sequence * heads + head)", "args->initial_state + (head)"),
    source("the layout ignored", "k_token = args->layout ? # : heads", "k_token = heads"),
    source(
      "a batch row's stride of another tensor", "batch_row * args->length * heads * #",
      "batch_row * args->length * args->query_heads * $1"),
    source(
      "heads that no worker holds", "(args->heads + #) / #", "args->heads / $2",
      plan: .faultyHeads),
    source(
      "a head beyond the last", "sl_least(2, heads - first_head)", "2", plan: .faultyHeads),
    // Tails.
    source(
      "rows written past the sequence's end", "sl_least(4, length - (16 * c + 4 * r))", "4"),
    source(
      "the last row dropped", "sl_least(4, length - (16 * c + 4 * r))",
      "sl_least(4, length - 1 - (16 * c + 4 * r))"),
    source(
      "columns read past the tensor's end", "sl_load_n(v_row + column, value_columns - column)",
      "sl_load(v_row + column)"),
    source(
      "columns written past the tensor's end", "value_columns = sl_least(16, # - value_begin)",
      "value_columns = 16"),
    source(
      "an aligned load of an unaligned row", "sl_load(k_row + column)",
      "sl_load((const float *)((uintptr_t)(k_row + column) & ~(uintptr_t)63))"),
    // Numbers.
    source("a scale that the caller cannot change", "scale = args->scale", "scale = 0.2236068f"),
    source(
      "a careless exponential", "sl_exp_both(sl_load(g_row + column), &taken)",
      "sl_mul(sl_exp_both(sl_load(g_row + column), &taken), sl_set(0.9999f))"),
    source(
      "resets that leak", "sl_exp_both(sl_load(g_row + column), &taken)",
      "sl_exp_both(sl_max(sl_load(g_row + column), sl_set(-8.0f)), &taken)"),
    source(
      "a careless exponential of a decay near one", "change = sl_exp_less_one_near(log)",
      "change = sl_mul(sl_exp_less_one_near(log), sl_set(1.001f))", plan: .faultyRegister),
    source(
      "decays far from one that are taken as near", "sl_less(bound, squares,",
      "sl_less(sl_mul(bound, sl_set(64.0f)), squares,", plan: .faultyRegister),
    source(
      "a masked score that comes back as 0 * inf",
      "sl_less(sl_zero(), weight, product, sl_zero())", "product", recurrence: "simple-gla"),
    source(
      "a product a ten-thousandth too large",
      "sl_block_end(t + i * t_row + j * SL_LANES, sum[i][j], part)",
      "sl_block_end(t + i * t_row + j * SL_LANES, sl_mul(sum[i][j], sl_set(1.0001f)), part)"),
    source(
      "outputs of the token before", "sl_f32 value = sl_load(t + i * t_row + j)",
      "sl_f32 value = sl_load(t + (i ? i - 1 : 0) * t_row + j)"),
    // Conduct.
    source(
      "scratch memory shared by threads", "thread * scratch_bytes", "0 * thread * scratch_bytes"),
    source("scratch memory that is not set", "memset(scratch, 0, scratch_bytes);", "").with {
      $0.key = 18
      $0.plan.keyTile = 9
    },
    source(
      "what the last phase left in scratch memory",
      "of any head. memset(scratch, 0, scratch_bytes);",
      "of any head.\n", plan: .faultySegmented
    ).with {
      $0.key = 18
      $0.plan.keyTile = 18
      $0.caughtBy = .law
    },
    source("a walk that begins anew with each stretch", "if (first_chunk == 0)", "if (end_chunk)")
      .with { $0.caughtBy = .law },
    source(
      "stretches of all walks in one scratch memory",
      "(threads_of(args) + own.walk) * scratch_bytes", "threads_of(args) * scratch_bytes"
    ).with { $0.caughtBy = .law },
    source("the floating-point mode not restored", "sl_flush_denormals_end(mode);", "(void)mode;")
      .with { $0.caughtBy = .conduct },
    source(
      "an answer that drifts from call to call", "scale = args->scale",
      "scale = args->scale * (1.0f + 2e-7f * (float)(calls++ % 7))", before: "static int calls;"
    ).with { $0.caughtBy = .conduct },
    source(
      "an answer that depends on the threads", "scale = args->scale",
      "scale = args->scale * (1.0f + 2e-7f * (float)args->threads)"
    ).with { $0.caughtBy = .law },
    source(
      "an answer that depends on the batch", "scale = args->scale",
      "scale = args->scale * (1.0f + 2e-7f * (float)sequences_of(args))"
    ).with { $0.caughtBy = .law },
    source("a loop that does not end", "++c)", "c += c > 2 ? 0 : 1)"),
    source(
      "a byte before the output", "run(args, 0, 0); return 0;",
      "run(args, 0, 0); ((volatile char *)args->o)[-1] = 1; return 0;"
    ).with { $0.caughtBy = .conduct },
    // Arguments.
    source(
      "a workspace that is never measured",
      "if ((int64_t)args->workspace_size <", "if ((int64_t)args->workspace_size < 0 &&"
    ).with {
      $0.caughtBy = .abi
    },
    source(
      "cu_seqlens that nobody checks",
      "if (args->cu_seqlens[n] > args->cu_seqlens[n + 1]) return 4;", ";"
    ).with { $0.caughtBy = .abi },
    source("alignment that nobody checks", "if (words % 4 ||", "if ((words & 0) ||").with {
      $0.caughtBy = .abi
    },
  ]

  private static func source(
    _ name: String, _ pattern: String, _ replacement: String, recurrence: String = "gla",
    plan: Plan = .faultyFused, before preamble: String? = nil
  ) -> PlantedFault {
    PlantedFault(name: name, layer: .source, recurrence: recurrence, plan: plan) {
      specification, plan in
      var kernel = try Emitter.emit(specification, plan)
      let mutation = SourceMutation(pattern, replacement)
      guard let text = try mutation.applied(to: kernel.source.text) else { throw missing(name) }
      kernel.source.text =
        preamble.map { text.replacing("// ---- The kernel", with: $0 + "\n// ---- The kernel") }
        ?? text
      return kernel
    }
  }

  func with(_ change: (inout PlantedFault) -> Void) -> PlantedFault {
    var copy = self
    change(&copy)
    return copy
  }
}
