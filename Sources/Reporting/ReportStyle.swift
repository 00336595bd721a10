/// The page's style: one set of names for colours, a value of each for light and for dark.
let reportStyle = """
  :root {
    --page: #fdfdfc; --text: #1c1f23; --dim: #5b626b; --line: #dfe2e6; --axis: #8b929b;
    --link: #0b57a8; --s0: #1f6fb4; --s1: #c2571a; --s2: #0d8a6a; --s3: #9a3fa0; --ring: #1c1f23;
    --b0: #0b6e54; --b1: #3f9a76; --b2: #8cc4a5; --b3: #e8e2b4; --b4: #efc07a; --b5: #de8a55;
    --b6: #b9483a; --light: #ffffff; --dark: #1c1f23; --none: #eceef0;
  }
  @media (prefers-color-scheme: dark) {
    :root {
      --page: #15181c; --text: #e6e8ea; --dim: #a0a7b0; --line: #2c3239; --axis: #6b737d;
      --link: #7fb8f0; --s0: #5fa8e8; --s1: #f0914f; --s2: #3fc79e; --s3: #d58ada; --ring: #ffffff;
      --b0: #2fc295; --b1: #2a9674; --b2: #2a6e5a; --b3: #5a5632; --b4: #84602c; --b5: #a4562e;
      --b6: #b3403a; --light: #f4f5f6; --dark: #0d0f12; --none: #20252b;
    }
  }
  body { margin: 0; background: var(--page); color: var(--text);
    font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
  main { max-width: 56rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
  h1 { font-size: 1.6rem; margin: 0.5rem 0; }
  h2 { font-size: 1.25rem; margin: 3rem 0 0.5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
  h3 { font-size: 1.05rem; margin: 2rem 0 0.25rem; }
  p { margin: 0.4rem 0; max-width: 46rem; }
  .machine { color: var(--dim); }
  a { color: var(--link); }
  .scroll { overflow-x: auto; }
  table { border-collapse: collapse; margin: 0.75rem 0; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
  th, td { padding: 0.3rem 0.75rem 0.3rem 0; text-align: right; border-bottom: 1px solid var(--line); }
  th:first-child, td:first-child { text-align: left; }
  th { color: var(--dim); font-weight: 600; vertical-align: bottom; }
  svg { display: block; max-width: 100%; height: auto; }
  main > section > svg { width: 40rem; }
  .grid { stroke: var(--line); stroke-width: 1; }
  .axis { stroke: var(--axis); stroke-width: 1.2; }
  .diagonal { stroke: var(--axis); stroke-width: 1.2; stroke-dasharray: 5 4; }
  .roof { stroke: var(--axis); stroke-width: 1.8; }
  .roofname, .tick { fill: var(--dim); font-size: 12px; }
  .title { fill: var(--text); font-size: 13px; }
  .mark { stroke: var(--page); stroke-width: 0.8; }
  .chosen { stroke: var(--ring); stroke-width: 2; }
  .s0 { fill: var(--s0); } .s1 { fill: var(--s1); } .s2 { fill: var(--s2); } .s3 { fill: var(--s3); }
  .legend { display: flex; flex-wrap: wrap; gap: 0.3rem 1rem; align-items: center; font-size: 0.9rem;
    color: var(--dim); }
  .legend span { display: inline-flex; align-items: center; gap: 0.35rem; }
  .key { width: 14px; height: 14px; }
  .swatch { padding: 0 0.5rem; border-radius: 3px; }
  .maps { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: flex-end; }
  .map { margin: 0.5rem 0; }
  figcaption { font-size: 0.95rem; font-weight: 600; }
  .cell { font-size: 12px; font-variant-numeric: tabular-nums; fill: var(--dim); }
  .h-none { fill: var(--none); }
  .h0 { fill: var(--b0); } .h1 { fill: var(--b1); } .h2 { fill: var(--b2); } .h3 { fill: var(--b3); }
  .h4 { fill: var(--b4); } .h5 { fill: var(--b5); } .h6 { fill: var(--b6); }
  .b0 { background: var(--b0); } .b1 { background: var(--b1); } .b2 { background: var(--b2); }
  .b3 { background: var(--b3); } .b4 { background: var(--b4); } .b5 { background: var(--b5); }
  .b6 { background: var(--b6); }
  .c0, .c1, .c6 { fill: var(--light); color: var(--light); }
  .c2, .c3, .c4, .c5 { fill: var(--dark); color: var(--dark); }
  @media (prefers-color-scheme: dark) {
    .c0 { fill: var(--dark); color: var(--dark); }
    .c1, .c2, .c3, .c4, .c5, .c6 { fill: var(--light); color: var(--light); }
  }
  """
