# Part of scripts/bench: its results as a markdown table. The first file has the rows (id|pair|title), the second a line a
# measurement: id, requests, microseconds, ticks of the server, p50, p99 (microseconds), log lines, whether it was disturbed.

function sort(list, n,   i, j, x) {
  for (i = 2; i <= n; i++) {
    x = list[i]
    for (j = i - 1; j > 0 && list[j] > x; j--) list[j + 1] = list[j]
    list[j + 1] = x
  }
}

# Also sets the least and the most.
function median(of, id, n,   i, list) {
  for (i = 1; i <= n; i++) list[i] = of[id, i]
  sort(list, n)
  least = list[1]; most = list[n]
  return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

FILENAME ~ /rows$/ {
  split($0, part, "|")
  order[++count] = part[1]; pair[part[1]] = part[2]; title[part[1]] = part[3]
  next
}
{
  n = ++rounds[$1]; wall = $3 / 1e6
  rate[$1, n] = $2 / wall; cpu[$1, n] = $4 / hertz / $2 * 1e6; share[$1, n] = $4 / hertz / wall * 100
  p50[$1, n] = $5 / 1000; p99[$1, n] = $6 / 1000
  # Requests that were in flight at the end are logged, but wrk does not count them.
  lines[$1, n] = $7 < $2 ? $7 / $2 * 100 : 100
  noisy += $8
  all++
}
END {
  print "| | requests/s | CPU µs/request | CPU, nginx = 1 | CPU busy | p50 ms | p99 ms |"
  print "|---|--:|--:|--:|--:|--:|--:|"
  for (row = 1; row <= count; row++) {
    id = order[row]; n = rounds[id]
    for (i = 1; i <= n; i++) ratio[id, i] = cpu[id, i] / cpu[pair[id], i]
    middle = median(ratio, id, n)
    range = id == pair[id] ? "1.00" : sprintf("%.2f (%.2f-%.2f)", middle, least, most)
    printf "| %s | %.0f | %.1f | %s | %.0f %% | %.2f | %.2f |\n", title[id], median(rate, id, n), median(cpu, id, n), range,
      median(share, id, n), median(p50, id, n), median(p99, id, n)
  }
  print ""
  for (row = 1; row <= count; row++) {
    id = order[row]
    if (id !~ /^nginx/ || id ~ /-log$/)
      printf "In the log of \"%s\": %.0f %% of the requests.\n", title[id], median(lines, id, rounds[id])
  }
  if (noisy) printf "\n**Not a quiet machine**: in %d of %d measurements others took more than %d %% of the server's CPU.\n", noisy, all, quiet
}
